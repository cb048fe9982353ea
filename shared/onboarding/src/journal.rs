//! The log lines that the specification fixes to the letter, as data.
//!
//! They are the one place where an owner's phone number is printed, because the specification says so. Whoever prints
//! them does so after the commit, each block in one piece.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::{Allocation, Client, E164, State};

/// The time of an event object: ISO 8601, UTC, milliseconds.
fn timestamp(now: DateTime<Utc>) -> String {
    now.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An event object on one line: `NAME { key: 'value', … }`.
fn object(name: &str, fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: '{value}'")).collect();
    format!("{name} {{ {} }}", fields.join(", "))
}

fn lines<const N: usize>(lines: [String; N]) -> Vec<String> {
    Vec::from(lines)
}

/// The client was turned back at the gate, and asked to pay.
pub(crate) fn payment_required(client: &Client, now: DateTime<Utc>) -> Vec<String> {
    lines([
        "💳 [PAYMENT_GATE] Checking payment status before phone type selection".into(),
        "❌ [PAYMENT_GATE] Payment not active - blocking progression".into(),
        "💳 [PAYMENT_GATE] Sending payment message".into(),
        object(
            "PAYMENT_REQUIRED",
            &[("clientId", &client.id), ("ownerPhone", client.owner_phone.digits()), ("timestamp", &timestamp(now))],
        ),
        "⚠️  [ONBOARDING] BLOCKED BY PAYMENT GATE".into(),
    ])
}

/// The client passed the gate, and `allocation` is what came of asking for a number.
pub(crate) fn gate_passed(client: &Client, asked: &Allocation, now: DateTime<Utc>) -> Vec<String> {
    let mut block = lines([
        "💳 [PAYMENT_GATE] Checking payment status before phone type selection".into(),
        "✅ [PAYMENT_GATE] Payment active - allocating Twilio number".into(),
    ]);
    block.extend(allocation(&client.id, asked, now));
    match asked {
        Allocation::Assigned(number) | Allocation::AlreadyAssigned(number) => {
            block.push(format!("✅ [PAYMENT_GATE] Number allocated: {}", number.as_str()));
            block.push(number_allocated(client, number, now));
        }
        Allocation::PoolEmpty { .. } => {
            block.push("❌ [PAYMENT_GATE] Number allocation failed: POOL_EMPTY".into());
            block.push(object(
                "POOL_EMPTY_DURING_ONBOARDING",
                &[
                    ("clientId", &client.id),
                    ("ownerPhone", client.owner_phone.digits()),
                    ("timestamp", &timestamp(now)),
                ],
            ));
            block.push("⚠️  [ONBOARDING] BLOCKED BY ALLOCATION FAILURE".into());
        }
    }
    block
}

/// What the pool did for `client_id`.
#[must_use]
pub fn allocation(client_id: &str, asked: &Allocation, now: DateTime<Utc>) -> Vec<String> {
    let mut block = lines(["📞 [POOL] Allocating Twilio number".into(), format!("   Client ID: {client_id}")]);
    match asked {
        Allocation::Assigned(number) => block.extend(lines([
            format!("📞 [POOL] Selected number: {}", number.as_str()),
            "✅ [POOL] Number assigned successfully".into(),
            format!("   Client: {client_id}"),
            format!("   Number: {}", number.as_str()),
            object(
                "POOL_ALLOCATION_SUCCESS",
                &[("clientId", client_id), ("phoneE164", number.as_str()), ("timestamp", &timestamp(now))],
            ),
        ])),
        Allocation::AlreadyAssigned(number) => {
            block.push(format!("✅ [POOL] Client already has number (idempotent): {}", number.as_str()));
        }
        Allocation::PoolEmpty { .. } => block.extend(lines([
            "❌ [POOL] POOL_EMPTY - No available numbers".into(),
            object("POOL_EMPTY", &[("clientId", client_id), ("timestamp", &timestamp(now))]),
        ])),
    }
    block
}

/// A client past the gate, and without a number, was to be given one; `asked` is what came of it.
pub(crate) fn allocated_in_the_background(client: &Client, asked: &Allocation, now: DateTime<Utc>) -> Vec<String> {
    let mut block = allocation(&client.id, asked, now);
    match asked {
        Allocation::Assigned(number) | Allocation::AlreadyAssigned(number) => {
            block.push(number_allocated(client, number, now));
        }
        Allocation::PoolEmpty { .. } => {}
    }
    block
}

fn number_allocated(client: &Client, number: &E164, now: DateTime<Utc>) -> String {
    object(
        "NUMBER_ALLOCATED",
        &[
            ("clientId", &client.id),
            ("phoneE164", number.as_str()),
            ("ownerPhone", client.owner_phone.digits()),
            ("timestamp", &timestamp(now)),
        ],
    )
}

/// The client is being told how to forward its calls to `number`.
pub(crate) fn forwarding_instructions(number: &str) -> Vec<String> {
    lines([
        "📲 [ONBOARDING] Sending forwarding instructions".into(),
        format!("   Client Twilio Number: {number}"),
        "✅ [ONBOARDING] HANDLER COMPLETE".into(),
    ])
}

/// The client should be told how to forward its calls, and there is no number to forward them to.
pub(crate) fn blocked_without_number(client: &Client, now: DateTime<Utc>) -> Vec<String> {
    lines([
        "❌ [ONBOARDING] CRITICAL: Twilio number missing at forwarding step".into(),
        "ONBOARDING_BLOCKED_NO_TWILIO_NUMBER {".into(),
        format!("  clientId: '{}',", client.id),
        format!("  ownerPhone: '{}',", client.owner_phone.digits()),
        format!("  currentState: '{}',", client.state.name()),
        format!("  nextState: '{}',", State::S7FwdSent.name()),
        format!("  timestamp: '{}'", timestamp(now)),
        "}".into(),
        "⚠️  [ONBOARDING] BLOCKED - NO TWILIO NUMBER".into(),
    ])
}
