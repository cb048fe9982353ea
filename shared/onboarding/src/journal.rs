//! The log lines whose wording the specification fixes, as data.
//!
//! Only these lines print an owner's phone number, because the specification demands it. The caller prints them after the commit,
//! each block in one piece.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::{Allocation, Client, E164, State};

/// Returns the time of an event object: ISO 8601, UTC, milliseconds.
fn timestamp(now: DateTime<Utc>) -> String {
    now.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Returns an event object on one line: `NAME { key: 'value', … }`.
fn object(name: &str, fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: '{value}'")).collect();
    format!("{name} {{ {} }}", fields.join(", "))
}

fn lines<const N: usize>(lines: [String; N]) -> Vec<String> {
    Vec::from(lines)
}

/// Returns the lines for a client that the payment gate stopped and asked to pay.
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

/// Returns the lines for a client that passed the payment gate. `asked` is the result of asking the pool for a number.
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

/// Returns the lines for the pool's reply to the client `client_id`.
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

/// Returns the lines for a client past the payment gate that lacked a number. `asked` is the result of asking the pool for one.
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

/// Returns the lines for sending the forwarding instructions. `number` is in E.164 form.
pub(crate) fn forwarding_instructions(number: &str) -> Vec<String> {
    lines([
        "📲 [ONBOARDING] Sending forwarding instructions".into(),
        format!("   Client Twilio Number: {number}"),
        "✅ [ONBOARDING] HANDLER COMPLETE".into(),
    ])
}

/// Returns the lines for a client that needs the forwarding instructions but has no number to forward calls to.
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
