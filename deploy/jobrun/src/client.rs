//! One client's story as an operator reads it: who it is, and a line for everything that has happened, oldest first.
//!
//! What people and networks wrote is shown whole, but never as they may have meant a terminal to take it.

use std::io::Write;

use chrono::{DateTime, Utc};
use jobrun_onboarding::E164;
use jobrun_shared::db::stories::{Happening, Header, Heard, InLine, Story, TextOut, What};
use unicode_width::UnicodeWidthStr;

/// How a time is shown, in UTC.
const SECOND: &str = "%Y-%m-%d %H:%M:%S";

/// How wide a line is at most, unless a word in it is wider.
const WIDTH: usize = 100;

/// How far the words of a text are set in: below what is said of it, and a little further.
const INDENT: usize = 33;

/// What a story is printed on.
struct Page<'o, O: Write> {
    out: &'o mut O,
    /// How wide a line is, unless a word in it is wider.
    width: usize,
}

/// Prints a story, no wider than `terminal`. Texts to `onboarding_number` are what is usual; for others, the number is said.
///
/// # Errors
/// When it cannot be written.
pub fn print(
    out: &mut impl Write,
    story: &Story,
    onboarding_number: &E164,
    terminal: Option<u16>,
) -> std::io::Result<()> {
    let width = terminal.map_or(WIDTH, |width| WIDTH.min(width.into()));
    let mut page = Page { out, width };
    print_header(&mut page, &story.client)?;
    writeln!(page.out)?;
    print_set_in(&mut page, &format!("{:<19}  {:<8}  ", "WHEN", "WHAT"), "(times in UTC; of payments, Stripe's)")?;
    for happening in &story.happenings {
        print_happening(&mut page, happening, onboarding_number)?;
    }
    Ok(())
}

fn print_header(page: &mut Page<'_, impl Write>, client: &Header) -> std::io::Result<()> {
    let since = |what: &str, at: &Option<DateTime<Utc>>| at.map(|at| format!("{what} since {}", at.format(SECOND)));
    let texts = [since("opted out", &client.opted_out_since), since("unreachable", &client.unreachable_since)];
    let texts: Vec<String> = texts.into_iter().flatten().collect();
    let gate = if client.payment_active { "the gate is open" } else { "the gate is closed" };
    let entries = [
        ("business", if client.business_name.is_empty() { "-".to_owned() } else { client.business_name.clone() }),
        ("phone", client.phone.clone()),
        ("region", client.region.clone()),
        ("known since", client.created_at.format(SECOND).to_string()),
        ("state", client.state.clone().unwrap_or_else(|| "nothing answered yet".to_owned())),
        ("answers", answers(client)),
        ("payment", format!("{gate}; standing: {}", client.payment_standing)),
        ("number", client.number.clone().unwrap_or_else(|| "-".to_owned())),
        ("texts", if texts.is_empty() { "reach the client".to_owned() } else { texts.join(", ") }),
        ("waiting", client.waiting.as_ref().map_or_else(|| "-".to_owned(), in_line)),
    ];
    writeln!(page.out, "client {}", shown(&client.id))?;
    for (name, value) in entries {
        print_set_in(page, &format!("  {name:<11}  "), &value)?;
    }
    Ok(())
}

/// Each answer on a line of its own.
fn answers(client: &Header) -> String {
    let fields = client.collected.as_ref().and_then(|collected| collected.as_object());
    let line = |(name, value): (&String, &serde_json::Value)| match value.as_str() {
        Some(text) => format!("{name}: {text}"),
        None => format!("{name}: {value}"),
    };
    let lines: Vec<String> = fields.into_iter().flatten().map(line).collect();
    if lines.is_empty() { "-".to_owned() } else { lines.join("\n") }
}

fn in_line(place: &InLine) -> String {
    let held = place.held_until.map(|until| format!("; a number is held until {}", until.format(SECOND)));
    let (since, promised) = (place.since.format(SECOND), place.promised_by.format(SECOND));
    format!("place {} since {since}, promised by {promised}{}", place.place, held.unwrap_or_default())
}

fn print_happening(
    page: &mut Page<'_, impl Write>,
    happening: &Happening,
    onboarding_number: &E164,
) -> std::io::Result<()> {
    let (what, line, body) = match &happening.what {
        What::TextIn { to, body, heard } if to == onboarding_number.as_str() => ("text in", came_of(heard), Some(body)),
        What::TextIn { to, body, heard } => ("text in", format!("to {to}, {}", came_of(heard)), Some(body)),
        What::CallArrived { from, heard } => ("call", format!("from {from}, {}", came_of(heard)), None),
        What::CallEnded { from, status, heard } => {
            ("call", format!("from {from} is over: {status}, {}", came_of(heard)), None)
        }
        What::Event { event, heard } => ("event", format!("{}, {}", event_words(event), came_of(heard)), None),
        What::Wish { change } => {
            ("wish", if change == "out" { "no more texts" } else { "texts again" }.to_owned(), None)
        }
        What::Payment { stripe_kind, amount, currency, status, .. } => {
            let status = status.as_ref().map(|status| format!(": {}", status.replace('_', " ")));
            let words = format!("{}{}", payment_words(stripe_kind), status.unwrap_or_default());
            let money =
                amount.zip(currency.as_deref()).map(|(amount, currency)| format!(", {}", money(amount, currency)));
            ("payment", format!("{words}{}", money.unwrap_or_default()), None)
        }
        What::Number { number, change, why } => {
            ("number", format!("{number} {}: {why}", change.replace('_', " ")), None)
        }
        What::TextOut(text) => ("text out", fate(text), Some(&text.body)),
    };
    print_set_in(page, &format!("{}  {what:<8}  ", happening.at.format(SECOND)), &line)?;
    // Where a third of the line is less, the words are set in by that.
    let indent = " ".repeat(INDENT.min(page.width / 3));
    body.map_or(Ok(()), |body| print_set_in(page, &indent, body))
}

/// What came of an event, and where it left the client.
fn came_of(heard: &Heard) -> String {
    match (heard.outcome.as_deref(), heard.state.as_deref()) {
        (None, _) => "not looked at yet".to_owned(),
        (Some("moved"), Some(state)) => format!("moved to {state}"),
        (Some(outcome), Some(state)) => format!("{outcome} at {state}"),
        (Some(outcome), None) => outcome.to_owned(),
    }
}

fn event_words(kind: &str) -> &str {
    match kind {
        "number_due" => "a number was due",
        "opted_out" => "Twilio says that the client has opted out",
        "unreachable" => "the network says that texts do not reach the phone",
        "payment_changed" => "the payment stands otherwise",
        "number_lost" => "the number was taken from the client",
        other => other,
    }
}

fn payment_words(kind: &str) -> &str {
    match kind {
        "checkout.session.completed" => "checkout completed",
        "checkout.session.async_payment_succeeded" => "the payment of a checkout came through",
        "checkout.session.async_payment_failed" => "the payment of a checkout failed",
        "checkout.session.expired" => "checkout not completed in time",
        "customer.subscription.created" => "subscription created",
        "customer.subscription.updated" => "subscription changed",
        "customer.subscription.deleted" => "subscription ended",
        "customer.subscription.paused" => "subscription paused",
        "customer.subscription.resumed" => "subscription resumed",
        "invoice.paid" => "invoice paid",
        "invoice.payment_failed" => "the payment of an invoice failed",
        "charge.refunded" => "refunded",
        "refund.failed" | "refund.updated" | "charge.refund.updated" => "a refund failed",
        "charge.dispute.created" => "the payer disputes a payment",
        "charge.dispute.updated" => "the dispute of a payment changed",
        "charge.dispute.closed" => "the dispute of a payment is over",
        "charge.dispute.funds_withdrawn" => "a disputed payment was taken back",
        "charge.dispute.funds_reinstated" => "a disputed payment was returned to us",
        other => other,
    }
}

/// 2900 in gbp is £29.00. Other currencies do not all have hundredths, and are shown as Stripe counts them.
pub(crate) fn money(amount: i64, currency: &str) -> String {
    if currency.eq_ignore_ascii_case("gbp") {
        let sign = if amount < 0 { "-" } else { "" };
        let pence = amount.unsigned_abs();
        return format!("{sign}£{}.{:02}", pence / 100, pence % 100);
    }
    format!("{amount} of the smallest unit of {}", currency.to_uppercase())
}

/// Which text it is, and what became of it.
fn fate(text: &TextOut) -> String {
    let status = if text.held_back { "held back" } else { &text.status };
    let second = if text.second_try { " (second try)" } else { "" };
    let attempts = if text.attempts > 1 { format!(" after {} attempts", text.attempts) } else { String::new() };
    let why = text.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let code = text.error_code.map(|code| format!(" ({code})")).unwrap_or_default();
    let next = text.next_attempt_at.filter(|_| ["queued", "unknown"].contains(&text.status.as_str()));
    let next = next.map(|at| format!("; next at {}", at.format(SECOND))).unwrap_or_default();
    format!("{}{second}, {status}{attempts}{why}{code}{next}", text.text_kind)
}

/// Prints `text` after `head`, and every line but the first as far in.
fn print_set_in(page: &mut Page<'_, impl Write>, head: &str, text: &str) -> std::io::Result<()> {
    let indent = " ".repeat(head.width());
    for (number, line) in wrapped(&shown(text), page.width.saturating_sub(head.width())).iter().enumerate() {
        let head = if number == 0 { head } else { &indent };
        writeln!(page.out, "{}", format!("{head}{line}").trim_end())?;
    }
    Ok(())
}

/// Without characters that a terminal would act on.
fn shown(text: &str) -> String {
    // Beside control characters, those that turn the direction of writing round.
    let turns_round =
        |it: char| matches!(it, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let visible =
        |it: char| if (it.is_control() && it != '\n') || turns_round(it) { char::REPLACEMENT_CHARACTER } else { it };
    text.replace("\r\n", "\n").chars().map(visible).collect()
}

/// The lines of `text`, broken between words where they are wider than `width`. There is always one.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let mut current = String::new();
        for word in line.split_inclusive(' ') {
            if !current.is_empty() && current.width() + word.trim_end().width() > width {
                lines.push(std::mem::take(&mut current));
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(what: What) -> String {
        let at = DateTime::from_timestamp(1_795_500_000, 0).unwrap();
        let mut out = Vec::new();
        let onboarding_number = E164::parse("+447476955179").unwrap();
        let mut page = Page { out: &mut out, width: WIDTH };
        print_happening(&mut page, &Happening { at, id: 1, what }, &onboarding_number).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn text_in(body: &str, state: Option<&str>) -> What {
        let heard = Heard { outcome: Some("moved".to_owned()), state: state.map(str::to_owned) };
        What::TextIn { to: "+447476955179".to_owned(), body: body.to_owned(), heard }
    }

    #[test]
    fn a_long_text_is_shown_whole_and_set_in() {
        let long = "word ".repeat(40);
        let shown = printed(text_in(&format!("first\n\n{long}"), Some("S2_BUSINESS_NAME")));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "2026-11-24 06:00:00  text in   moved to S2_BUSINESS_NAME");
        assert_eq!((lines[1], lines[2]), ("                                 first", ""));
        assert!(lines.iter().all(|line| line.width() <= WIDTH), "{shown}");
        assert_eq!(shown.matches("word").count(), 40);
    }

    #[test]
    fn what_a_terminal_would_act_on_is_not_printed() {
        let shown = printed(text_in("\u{1b}[2Jgone\r\nand\u{9b}31m\u{7}", None));
        assert!(!shown.chars().any(|it| it.is_control() && it != '\n'), "{shown:?}");
        assert!(shown.contains("[2Jgone\n"));
    }

    #[test]
    fn payments_are_in_pounds_and_plain_words() {
        let payment = |kind: &str, amount, currency: &str| {
            printed(What::Payment {
                stripe_kind: kind.to_owned(),
                stripe_id: "evt_1".to_owned(),
                amount: Some(amount),
                currency: Some(currency.to_owned()),
                status: None,
            })
        };
        assert!(payment("invoice.paid", 2900, "gbp").ends_with("payment   invoice paid, £29.00\n"));
        assert!(payment("charge.refunded", -5, "gbp").ends_with("refunded, -£0.05\n"));
        assert!(payment("something.new", 2900, "jpy").ends_with("something.new, 2900 of the smallest unit of JPY\n"));
    }

    #[test]
    fn a_text_says_what_became_of_it() {
        let at = DateTime::from_timestamp(1_795_500_000, 0);
        let text = TextOut {
            text_kind: "number_ready".to_owned(),
            from: "+447476955179".to_owned(),
            body: "Hi".to_owned(),
            status: "queued".to_owned(),
            updated_at: at.unwrap(),
            attempts: 3,
            next_attempt_at: at,
            error_code: Some(30003),
            why: Some("the phone is off or out of reach".to_owned()),
            held_back: false,
            second_try: true,
        };
        assert_eq!(
            fate(&text),
            "number_ready (second try), queued after 3 attempts: the phone is off or out of reach (30003); next at 2026-11-24 \
             06:00:00"
        );
        let text = TextOut { status: "delivered".to_owned(), attempts: 1, error_code: None, why: None, ..text };
        assert_eq!(fate(&TextOut { second_try: false, ..text }), "number_ready, delivered");
    }
}
