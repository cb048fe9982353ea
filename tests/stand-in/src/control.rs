//! The control interface for people, with a browser or curl: send texts, place calls, order faults, read the messages.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Form, Router};
use jobrun_onboarding::as_people_write;
use serde::Deserialize;

use crate::phones;
use crate::{Answer, DeliveryOutcome, Direction, Fault, Message, Misbehaviour, Reports, State, Undelivered};

pub(crate) const HELP: &str = "\
This stands in for Twilio and Stripe. A browser shows phones to play with at HOST. Or be a client with curl:

  curl -d from=+447900000001 --data-urlencode 'body=Plumber from London' HOST/texts   text the onboarding number
  curl -d from=+447700900123 -d to=+447111111111 HOST/calls                           ring a number
  curl HOST/messages                                                                  read what was sent to everybody
  curl -G -d to=+447900000001 HOST/messages                                           read what was sent to one phone
  curl -N HOST/tail                                                                   follow the texts in both directions;
                                                                                      -H 'accept: application/json' as JSON
  curl HOST/numbers                                                                   read where each number leads

Pay, with the reference that the payment link in the text carries; or open that link in a browser:

  curl -d client_reference_id=REFERENCE HOST/pay                                      pay £29 by card;
                                                                                      -d by=debit by a debit that takes days
  curl HOST/subscriptions                                                             read who has paid
  curl -d subscription=sub_… -d status=past_due HOST/subscriptions                    it becomes past_due, active, unpaid,
                                                                                      paused, canceled or refunded;
                                                                                      debit-arrives or debit-fails end a debit

Twilio can go wrong:

  curl -d next=500-after HOST/faults             the next text is met with a fault: 429-retry-after, 429, 500-before,
                                                 500-after, 503, late, dropped-before, dropped-after, unreadable, 401,
                                                 or an error code such as 21610
  curl -d always=401 HOST/faults                 every request is, until always=none
  curl -d end=undelivered-30003 HOST/faults      texts end so: queued, delivered, sent, undelivered-CODE, failed-CODE
  curl -d reports=missing HOST/faults            delivery reports go so: in-order, twice, reordered, late,
                                                 before-answer, missing
  curl -d 'seed=7&percent=30' HOST/faults        at random, in 30 % of cases, and with the same seed the same again;
                                                 seed=7&percent=0 ends it
  curl HOST/faults                               read how often each fault came

Stripe can go wrong:

  curl -d webhooks=lost HOST/faults              webhooks about payments are lost for good, until webhooks=sent; the list
                                                 of events at HOST/v1/events has them all

A plus sign in -d is fine as it is.
";

pub(crate) fn router() -> Router<Arc<State>> {
    // Browsers get the phone page at the address at which curl gets the help.
    Router::new()
        .merge(phones::guarded(Router::new().route("/", get(phones::front))))
        .route("/texts", post(text))
        .route("/calls", post(call))
        .route("/messages", get(messages))
        .route("/faults", post(order).get(faults))
        .route("/numbers", get(numbers))
}

#[derive(Deserialize)]
struct Text {
    from: String,
    to: Option<String>,
    body: String,
}

#[derive(Deserialize)]
struct Call {
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct Filter {
    to: Option<String>,
}

type Outcome = Result<String, (StatusCode, String)>;

fn undelivered(error: &Undelivered) -> (StatusCode, String) {
    (StatusCode::BAD_GATEWAY, format!("the webhook was not delivered: {error}\n"))
}

/// Describes the response to a webhook. A refusal is an error, so that the sender of the text sees it.
fn describe(what: &str, answer: &Answer) -> Outcome {
    let line = format!("{what}: answered {} {}\n", answer.status, answer.body.trim());
    if (200..300).contains(&answer.status) { Ok(line) } else { Err((StatusCode::BAD_GATEWAY, line)) }
}

/// Returns a phone number as Twilio would name it: E.164 where it can be parsed, else as it was typed.
/// An unescaped plus sign in a form is decoded as a space, so a leading space is taken for a plus sign.
pub(crate) fn phone(given: &str) -> String {
    let typed = given.strip_prefix(' ').map_or_else(|| given.to_owned(), |digits| format!("+{digits}"));
    as_people_write(&typed).map_or_else(|| typed.trim().to_owned(), |number| number.as_str().to_owned())
}

async fn text(Shared(state): Shared<Arc<State>>, Form(text): Form<Text>) -> Outcome {
    let to = text.to.map_or_else(|| state.account.onboarding_number.clone(), |to| phone(&to));
    let answer = state.text(&phone(&text.from), &to, &text.body).await.map_err(|error| undelivered(&error))?;
    describe("text", &answer)
}

async fn call(Shared(state): Shared<Arc<State>>, Form(call): Form<Call>) -> Outcome {
    let called = state.call(&phone(&call.from), &phone(&call.to)).await;
    let (arrived, ended) = called.map_err(|error| undelivered(&error))?;
    Ok(describe("call arrived", &arrived)? + &describe("call ended", &ended)?)
}

async fn messages(Shared(state): Shared<Arc<State>>, Query(filter): Query<Filter>) -> String {
    let to = filter.to.map(|to| phone(&to));
    let mut page = String::new();
    let wanted = |it: &&Message| it.direction == Direction::Outbound && to.as_ref().is_none_or(|to| *to == it.to);
    for message in state.messages().iter().filter(wanted) {
        // Writing to a string does not fail.
        let (status, created) = (message.status.name(), message.date_created.to_rfc2822());
        let _ = writeln!(page, "{} -> {}  ({status}, {created})", message.from, message.to);
        for line in message.body.lines() {
            let _ = writeln!(page, "  {line}");
        }
        page.push('\n');
    }
    page
}

#[derive(Deserialize)]
struct Order {
    next: Option<String>,
    always: Option<String>,
    end: Option<String>,
    reports: Option<String>,
    webhooks: Option<String>,
    seed: Option<u64>,
    percent: Option<u8>,
}

/// Parses an optional word with `named`. An unknown word is refused with 400.
fn word<T>(given: Option<&String>, named: impl Fn(&str) -> Option<T>) -> Result<Option<T>, (StatusCode, String)> {
    let known =
        |word: &String| named(word).ok_or_else(|| (StatusCode::BAD_REQUEST, format!("no such thing: {word}\n")));
    given.map(known).transpose()
}

/// Applies an order as a whole, or not at all.
async fn order(Shared(state): Shared<Arc<State>>, Form(order): Form<Order>) -> Outcome {
    let next = word(order.next.as_ref(), Fault::named)?;
    let always =
        word(order.always.as_ref(), |name| if name == "none" { Some(None) } else { Fault::named(name).map(Some) })?;
    let outcome = word(order.end.as_ref(), DeliveryOutcome::named)?;
    let reports = word(order.reports.as_ref(), Reports::named)?;
    let lost = word(order.webhooks.as_ref(), |name| match name {
        "lost" => Some(true),
        "sent" => Some(false),
        _ => None,
    })?;
    let misbehaviour = match (order.seed, order.percent) {
        (Some(seed), Some(percent @ 0..=100)) => Some(Misbehaviour { seed, percent }),
        (None, None) => None,
        _ => return Err((StatusCode::BAD_REQUEST, "a seed and a percentage go together\n".to_owned())),
    };
    if let Some(lost) = lost {
        state.set_loses_webhooks(lost);
    }
    let mut orders = state.faults.orders();
    orders.next.extend(next);
    orders.always = always.unwrap_or(orders.always);
    orders.outcome = outcome.or(orders.outcome);
    orders.reports = reports.or(orders.reports);
    orders.misbehaviour = misbehaviour.or(orders.misbehaviour);
    Ok(misbehaviour.map_or_else(|| "so be it\n".to_owned(), |misbehaviour| format!("{misbehaviour}\n")))
}

async fn faults(Shared(state): Shared<Arc<State>>) -> String {
    state.faults.orders().counts.iter().map(|(name, count)| format!("{count}  {name}\n")).collect()
}

async fn numbers(Shared(state): Shared<Arc<State>>) -> String {
    let mut page = String::new();
    for number in state.numbers().iter() {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{}", number.phone_number);
        for (field, value) in &number.fields {
            let _ = writeln!(page, "  {field:<21} {value}");
        }
    }
    page
}
