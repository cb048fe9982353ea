//! Reads a wording file (TOML): the language, and a table for each wording.

use toml_edit::{ImDocument, Item, TableLike};

use super::fault::Fault;
use super::language::Language;
use crate::wording_name::Name;
use crate::words::Template;

/// The most segments that Twilio takes.
const LIMIT_MAX: i64 = 10;

/// A wording of a file.
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) name: Name,
    /// The text without line breaks at its end.
    pub(super) text: String,
    pub(super) template: Template,
    /// The most segments, if the file says so.
    pub(super) limit: Option<u32>,
}

/// The contents of a file, without those that have faults.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) language: Option<Language>,
    pub(super) entries: Vec<Entry>,
}

/// Reads a file, and returns its faults beside its contents.
pub(super) fn read(file: &str) -> (Contents, Vec<Fault>) {
    // Editors of other systems end a line with two characters, and begin a file with a mark.
    let file = file.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let document = match ImDocument::parse(file.as_str()) {
        Ok(document) => document,
        Err(error) => {
            let before = error.span().map_or(0, |span| span.start);
            let line = 1 + file.chars().take(before).filter(|it| *it == '\n').count();
            let problem = format!("this is not TOML: {}", error.message().trim().replace('\n', ", "));
            return (Contents::default(), vec![Fault::at(line, problem)]);
        }
    };
    let mut faults = Vec::new();
    let mut contents = Contents::default();
    let line_of = |table: &dyn TableLike, key: &str| {
        let at = table.get_key_value(key).and_then(|(key, _)| key.span()).map_or(0, |span| span.start);
        1 + file.bytes().take(at).filter(|it| *it == b'\n').count()
    };
    if !document.as_table().contains_key("language") {
        faults.push(Fault::at(1, format!("the language is missing: language = {}", known_languages())));
    }
    for (key, item) in document.as_table() {
        let line = line_of(document.as_table(), key);
        match (key, item.as_table_like()) {
            ("language", _) => {
                contents.language = item.as_str().and_then(Language::from_tag);
                if contents.language.is_none() {
                    faults.push(Fault::at(line, format!("there is no such language; there is {}", known_languages())));
                }
            }
            (_, None) => faults.push(unknown(line, key, "is not a table, such as [welcome]")),
            (_, Some(table)) => match Name::from_text(key) {
                None => faults.push(unknown(line, key, "is not the name of a wording")),
                Some(name) => {
                    let entry = read_entry(line, name, table, |key| line_of(table, key), &mut faults);
                    contents.entries.extend(entry);
                }
            },
        }
    }
    (contents, faults)
}

fn known_languages() -> String {
    Language::ALL.map(|language| format!("\"{}\"", language.tag())).join(", ")
}

fn unknown(line: usize, key: &str, problem: &str) -> Fault {
    Fault { line: Some(line), wording: Some(key.to_owned()), problem: problem.to_owned() }
}

fn read_entry(
    line: usize,
    name: Name,
    table: &dyn TableLike,
    line_of: impl Fn(&str) -> usize,
    faults: &mut Vec<Fault>,
) -> Option<Entry> {
    let before = faults.len();
    for (key, _) in table.iter().filter(|(key, _)| !["text", "segments"].contains(key)) {
        faults.push(Fault::of(line_of(key), name, format!("has an unknown key, {key}: there are text and segments")));
    }
    let limit = table.get("segments").map(|item| {
        let limit = item.as_integer().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.and_then(|limit| u32::try_from(limit).ok())
    });
    if limit == Some(None) {
        faults.push(Fault::of(
            line_of("segments"),
            name,
            format!("has segments that are no number from 1 to {LIMIT_MAX}"),
        ));
    }
    let text = table.get("text").and_then(Item::as_str);
    let Some(text) = text.map(|text| text.trim_end_matches('\n')) else {
        faults.push(Fault::of(line, name, "has no text in quotes"));
        return None;
    };
    let line = line_of("text");
    if text.trim().is_empty() {
        faults.push(Fault::of(line, name, "is empty"));
    }
    if let Some(bad) = text.chars().find(|it| is_invisible(*it)) {
        faults.push(Fault::of(line, name, format!("has a control character, {}", bad.escape_unicode())));
    }
    let template = Template::parse(text);
    if template.is_err() {
        faults.push(Fault::of(line, name, "has a brace that is not part of a placeholder, such as {number}"));
    }
    if faults.len() > before {
        return None;
    }
    Some(Entry { line, name, text: text.to_owned(), template: template.ok()?, limit: limit.flatten() })
}

/// Returns whether a character cannot be seen, and may change how the others are shown. The joiner within an emoji is none of these.
fn is_invisible(it: char) -> bool {
    let is_format = matches!(it, '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(it, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    is_format || (it.is_control() && it != '\n')
}
