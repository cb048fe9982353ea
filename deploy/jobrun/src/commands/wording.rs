//! `jobrun wording`: shows the wordings of our texts, and checks a file of changed ones. It needs no database.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use jobrun_onboarding::segments::Encoding;
use jobrun_onboarding::wording_file::{Language, Preview};
use jobrun_onboarding::{Name, Wordings};
use jobrun_shared::config;
use serde_json::{Value, json};

use crate::table;

/// What to show or to check.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The name of one wording; without it, all
    #[arg(value_parser = name)]
    name: Option<Name>,
    /// Check this file, and show its wordings as they would be sent; exit status 1 if it has a fault
    #[arg(long, value_name = "FILE")]
    check: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<Name, String> {
    Name::from_text(text).ok_or_else(|| "there is no wording of this name; `jobrun wording` lists all".to_owned())
}

/// Prints the wordings, or those that a file changes, or the faults of that file.
///
/// # Errors
/// When `WORDING_FILE` has a fault, or the output fails.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    match &options.check {
        None => {
            let previews = previews(&config::wordings()?);
            let is_wanted = |it: &Preview| options.name.is_none_or(|name| it.name == name);
            print(previews.into_iter().filter(is_wanted).collect(), options.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(path) => check(path, options),
    }
}

fn check(path: &str, options: &Options) -> anyhow::Result<ExitCode> {
    let mut out = table::stdout();
    match config::read_wordings(path) {
        Ok(wordings) => {
            let is_wanted = |it: &Preview| options.name.map_or(it.is_changed, |name| it.name == name);
            let changed: Vec<Preview> = previews(&wordings).into_iter().filter(is_wanted).collect();
            if options.json {
                let changed: Vec<Value> = changed.iter().map(as_json).collect();
                writeln!(out, "{:#}", json!({ "faults": [], "wordings": changed }))?;
            } else {
                let changes = count(previews(&wordings).iter().filter(|it| it.is_changed).count(), "wording");
                writeln!(out, "{path} has no fault, and changes {changes}.\n")?;
                changed.iter().try_for_each(|it| print_one(&mut out, it))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            if options.json {
                writeln!(out, "{:#}", json!({ "faults": faults, "wordings": [] }))?;
            } else {
                writeln!(out, "{path} has {}:", count(faults.len(), "fault"))?;
                faults.iter().try_for_each(|fault| writeln!(out, "  {fault}"))?;
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn previews(wordings: &Wordings) -> Vec<Preview> {
    wordings.previews(Language::EnGb)
}

fn print(previews: Vec<Preview>, json: bool) -> anyhow::Result<()> {
    let mut out = table::stdout();
    if json {
        let all: Vec<Value> = previews.iter().map(as_json).collect();
        return writeln!(out, "{}", serde_json::to_string_pretty(&all)?).context("printing the wordings");
    }
    previews.iter().try_for_each(|it| print_one(&mut out, it)).context("printing the wordings")
}

/// Prints the facts about a wording on one line, and its text below, set in.
fn print_one(out: &mut impl Write, it: &Preview) -> std::io::Result<()> {
    let alphabet = match it.segments.encoding {
        Encoding::Gsm7 => "GSM",
        Encoding::Ucs2 => "Unicode",
    };
    let mut facts = vec![format!("{} {alphabet}", count(it.segments.count as usize, "segment"))];
    if it.limit != it.segments.count {
        facts.push(format!("{} at most", it.limit));
    }
    if it.name.is_fixed() {
        facts.push("fixed by the specification".to_owned());
    }
    if it.is_changed {
        facts.push("changed by the operator".to_owned());
    }
    if !it.placeholders.is_empty() {
        let names: Vec<String> = it.placeholders.iter().map(|name| format!("{{{name}}}")).collect();
        facts.push(names.join(" "));
    }
    writeln!(out, "{}: {}", it.name.as_str(), facts.join(", "))?;
    for line in it.body.lines() {
        writeln!(out, "{}", format!("    {line}").trim_end())?;
    }
    writeln!(out)
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn as_json(it: &Preview) -> Value {
    json!({
        "name": it.name.as_str(),
        "language": Language::EnGb.tag(),
        "text": it.body,
        "segments": it.segments.count,
        "encoding": it.segments.encoding.name(),
        "segmentsMax": it.segments_max,
        "limit": it.limit,
        "placeholders": it.placeholders,
        "fixed": it.name.is_fixed(),
        "changed": it.is_changed,
    })
}
