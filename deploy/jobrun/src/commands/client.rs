//! `jobrun client`: prints one client's history, a line for each entry, oldest first.
//!
//! Texts that clients and networks wrote are printed in full, without the characters that a terminal would act on.

use std::io::Write;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use jobrun_onboarding::action::{Action, Refused};
use jobrun_onboarding::{E164, TextKind};
use jobrun_shared::config;
use jobrun_shared::db::history::{self, ClientHistory, EntryKind, Header, InLine, TextOut, TimelineEntry};
use jobrun_shared::refusal::{self, Refusal};
use jobrun_shared::words::{action_words, event_words, money, outcome_words, payment_words};
use unicode_width::UnicodeWidthStr;

use crate::commands::connect_migrated;
use crate::table;

/// The format of a time, in UTC.
const SECOND: &str = "%Y-%m-%d %H:%M:%S";

/// The greatest width of a line, unless a word in it is wider.
const WIDTH: usize = 100;

/// The indent of a text's body, a little further than the line above it.
const INDENT: usize = 33;

/// The output that a history is printed to.
struct Page<'o, O: Write> {
    out: &'o mut O,
    /// The width of a line, unless a word in it is wider.
    width: usize,
}

/// Prints a history, no wider than `terminal`. The recipient of a text is printed only if it is not `onboarding_number`.
///
/// # Errors
/// When `out` cannot be written.
pub fn print(
    out: &mut impl Write,
    story: &ClientHistory,
    onboarding_number: &E164,
    terminal: Option<u16>,
) -> std::io::Result<()> {
    let width = terminal.map_or(WIDTH, |width| WIDTH.min(width.into()));
    let mut page = Page { out, width };
    print_header(&mut page, &story.client)?;
    writeln!(page.out)?;
    print_indented(&mut page, &format!("{:<19}  {:<8}  ", "WHEN", "WHAT"), "(times in UTC; of payments, Stripe's)")?;
    for entry in &story.entries {
        print_entry(&mut page, entry, onboarding_number)?;
    }
    Ok(())
}

fn print_header(page: &mut Page<'_, impl Write>, client: &Header) -> std::io::Result<()> {
    let since = |what: &str, at: &Option<DateTime<Utc>>| at.map(|at| format!("{what} since {}", at.format(SECOND)));
    let texts = [since("opted out", &client.opted_out_since), since("unreachable", &client.unreachable_since)];
    let texts: Vec<String> = texts.into_iter().flatten().collect();
    let gate = if client.payment_active { "the gate is open" } else { "the gate is closed" };
    let mut entries = vec![
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
    if client.text_back {
        entries.push(("text back", "the client wants its mobile callers texted".to_owned()));
    }
    writeln!(page.out, "client {}", shown(&client.id))?;
    for (name, value) in entries {
        print_indented(page, &format!("  {name:<11}  "), &value)?;
    }
    Ok(())
}

/// Returns each collected field on a line of its own.
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

fn print_entry(
    page: &mut Page<'_, impl Write>,
    entry: &TimelineEntry,
    onboarding_number: &E164,
) -> std::io::Result<()> {
    let (what, line, body) = match &entry.what {
        EntryKind::TextIn { to, body, heard } if to == onboarding_number.as_str() => {
            ("text in", outcome_words(heard), Some(body))
        }
        EntryKind::TextIn { to, body, heard } => ("text in", format!("to {to}, {}", outcome_words(heard)), Some(body)),
        EntryKind::CallArrived { from, heard } => ("call", format!("from {from}, {}", outcome_words(heard)), None),
        EntryKind::CallEnded { from, status, heard } => {
            ("call", format!("from {from} is over: {status}, {}", outcome_words(heard)), None)
        }
        EntryKind::OperatorAction { by, why, action, heard } => {
            let why = why.as_ref().map(|why| format!(", because: {why}")).unwrap_or_default();
            let body = if let Action::Reply { body } = action { Some(body) } else { None };
            let body = body.filter(|_| heard.outcome.as_deref().is_none_or(|it| Refused::from_name(it).is_some()));
            ("operator", format!("{by} {}{why}, {}", action_words(action), outcome_words(heard)), body)
        }
        EntryKind::Event { event, heard } => {
            ("event", format!("{}, {}", event_words(event), outcome_words(heard)), None)
        }
        EntryKind::OptChange { change } => {
            ("wish", if change == "out" { "no more texts" } else { "texts again" }.to_owned(), None)
        }
        EntryKind::Payment { stripe_kind, amount, currency, status, .. } => {
            let status = status.as_ref().map(|status| format!(": {}", status.replace('_', " ")));
            let words = format!("{}{}", payment_words(stripe_kind), status.unwrap_or_default());
            let money =
                amount.zip(currency.as_deref()).map(|(amount, currency)| format!(", {}", money(amount, currency)));
            ("payment", format!("{words}{}", money.unwrap_or_default()), None)
        }
        EntryKind::Number { number, change, why } => {
            ("number", format!("{number} {}: {why}", change.replace('_', " ")), None)
        }
        EntryKind::TextOut(text) => ("text out", delivery_words(text), Some(&text.body)),
    };
    print_indented(page, &format!("{}  {what:<8}  ", entry.at.format(SECOND)), &line)?;
    // On a narrow terminal, the indent is a third of the line.
    let indent = " ".repeat(INDENT.min(page.width / 3));
    body.map_or(Ok(()), |body| print_indented(page, &indent, body))
}

/// Returns the kind of a text, and its delivery status.
fn delivery_words(text: &TextOut) -> String {
    let status = if text.held_back { "held back" } else { &text.status };
    let to = if text.text_kind == TextKind::TextBack.name() { format!(" to {}", text.to) } else { String::new() };
    let second = if text.second_try { " (second try)" } else { "" };
    let attempts = if text.attempts > 1 { format!(" after {} attempts", text.attempts) } else { String::new() };
    let why = text.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let code = text.error_code.map(|code| format!(" ({code})")).unwrap_or_default();
    let next = text.next_attempt_at.filter(|_| ["queued", "unknown"].contains(&text.status.as_str()));
    let next = next.map(|at| format!("; next at {}", at.format(SECOND))).unwrap_or_default();
    format!("{}{to}{second}, {status}{attempts}{why}{code}{next}", text.text_kind)
}

/// Prints `text` after `head`, and indents further lines by the width of `head`.
fn print_indented(page: &mut Page<'_, impl Write>, head: &str, text: &str) -> std::io::Result<()> {
    let indent = " ".repeat(head.width());
    for (number, line) in wrapped(&shown(text), page.width.saturating_sub(head.width())).iter().enumerate() {
        let head = if number == 0 { head } else { &indent };
        writeln!(page.out, "{}", format!("{head}{line}").trim_end())?;
    }
    Ok(())
}

/// Replaces the characters that a terminal would act on.
pub(crate) fn shown(text: &str) -> String {
    // Besides control characters, those that change the direction of writing.
    let turns_round =
        |it: char| matches!(it, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let visible =
        |it: char| if (it.is_control() && it != '\n') || turns_round(it) { char::REPLACEMENT_CHARACTER } else { it };
    text.replace("\r\n", "\n").chars().map(visible).collect()
}

/// Returns the lines of `text`, broken between words where they are wider than `width`: at least one line.
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

/// Prints the history of one client.
///
/// # Errors
/// When the settings, the database or the output fail.
pub async fn run(settings: &config::Operator, words: &str, json: bool) -> anyhow::Result<ExitCode> {
    let pool = connect_migrated(settings).await?;
    let id = refusal::find_client(&pool, words).await?;
    let story = history::find(&pool, &id).await?.ok_or(Refusal::NoSuchClient)?;
    let mut out = table::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&story)?)?;
    } else {
        print(&mut out, &story, &settings.onboarding_number, table::terminal_width())?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use jobrun_shared::db::history::EventOutcome;

    use super::*;

    fn printed(what: EntryKind) -> String {
        let at = DateTime::from_timestamp(1_795_500_000, 0).unwrap();
        let mut out = Vec::new();
        let onboarding_number = E164::parse("+447476955179").unwrap();
        let mut page = Page { out: &mut out, width: WIDTH };
        print_entry(&mut page, &TimelineEntry { at, id: 1, what }, &onboarding_number).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn text_in(body: &str, state: Option<&str>) -> EntryKind {
        let heard = EventOutcome { outcome: Some("moved".to_owned()), state: state.map(str::to_owned) };
        EntryKind::TextIn { to: "+447476955179".to_owned(), body: body.to_owned(), heard }
    }

    #[test]
    fn a_long_text_is_printed_in_full_and_indented() {
        let long = "word ".repeat(40);
        let shown = printed(text_in(&format!("first\n\n{long}"), Some("S2_BUSINESS_NAME")));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "2026-11-24 06:00:00  text in   moved to S2_BUSINESS_NAME");
        assert_eq!((lines[1], lines[2]), ("                                 first", ""));
        assert!(lines.iter().all(|line| line.width() <= WIDTH), "{shown}");
        assert_eq!(shown.matches("word").count(), 40);
    }

    #[test]
    fn control_characters_are_not_printed() {
        let shown = printed(text_in("\u{1b}[2Jgone\r\nand\u{9b}31m\u{7}", None));
        assert!(!shown.chars().any(|it| it.is_control() && it != '\n'), "{shown:?}");
        assert!(shown.contains("[2Jgone\n"));
    }

    #[test]
    fn payments_are_in_pounds_and_plain_words() {
        let payment = |kind: &str, amount, currency: &str| {
            printed(EntryKind::Payment {
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
    fn a_text_is_printed_with_its_delivery_status() {
        let at = DateTime::from_timestamp(1_795_500_000, 0);
        let text = TextOut {
            text_kind: "number_ready".to_owned(),
            from: "+447476955179".to_owned(),
            to: "+447900000001".to_owned(),
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
            delivery_words(&text),
            "number_ready (second try), queued after 3 attempts: the phone is off or out of reach (30003); next at 2026-11-24 \
             06:00:00"
        );
        let text = TextOut { status: "delivered".to_owned(), attempts: 1, error_code: None, why: None, ..text };
        assert_eq!(delivery_words(&TextOut { second_try: false, ..text }), "number_ready, delivered");
    }
}
