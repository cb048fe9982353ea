//! The wording files: the built-in one of each language, and the file in which an operator changes wordings.
//!
//! Both have one format. The built-in file has every wording. An operator's file has those that differ, and is laid over it. It is
//! checked as a whole, and all of its faults are named at once.

mod check;

mod examples;

mod fault;

mod language;

mod read;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use check::carrier_word;
pub use fault::Fault;
pub use language::Language;

use self::check::Checked;
use crate::segments::{Segments, segments};
use crate::wording_name::Name;
use crate::words::Wording;

/// The built-in file of British English.
const EN_GB: &str = include_str!("../../wording/en-GB.toml");

/// The wordings of every language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wordings {
    en_gb: OfLanguage,
}

/// The wordings of a language.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OfLanguage {
    wording: Wording,
    /// The most segments of each wording.
    limits: BTreeMap<Name, u32>,
    /// The wordings that the operator has changed.
    changed: Vec<Name>,
}

/// A wording, for a person who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Its name.
    pub name: Name,
    /// The text as it would be sent, with usual values.
    pub body: String,
    /// The segments of that text.
    pub segments: Segments,
    /// The segments with the longest values.
    pub segments_max: u32,
    /// The most segments that it may have.
    pub limit: u32,
    /// Its placeholders, each once.
    pub placeholders: Vec<String>,
    /// Whether the operator has changed it.
    pub is_changed: bool,
}

impl Wordings {
    /// Returns the built-in wordings.
    pub fn built_in() -> &'static Self {
        static BUILT_IN: LazyLock<Wordings> = LazyLock::new(read_built_in);
        &BUILT_IN
    }

    /// Returns the built-in wordings with those of an operator's file in their place.
    ///
    /// # Errors
    /// All faults of the file, in the order of its lines.
    pub fn with_file(file: &str) -> Result<Self, Vec<Fault>> {
        let mut all = Self::built_in().clone();
        let (read, mut faults) = read::read(file);
        let language = read.language.unwrap_or(Language::EnGb);
        let built_in = Self::built_in().in_language(language);
        let in_force = match language {
            Language::EnGb => &mut all.en_gb,
        };
        let Checked { wording, limits, changed, faults: found } =
            check::check(&built_in.wording, &built_in.limits, read.entries);
        faults.extend(found);
        if !faults.is_empty() {
            faults.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
            return Err(faults);
        }
        *in_force = OfLanguage { wording, limits, changed };
        Ok(all)
    }

    /// Returns the wording for the clients of a region, as in `clients.region`.
    #[must_use]
    pub fn of_region(&self, region: &str) -> &Wording {
        &self.in_language(Language::of_region(region)).wording
    }

    fn in_language(&self, language: Language) -> &OfLanguage {
        match language {
            Language::EnGb => &self.en_gb,
        }
    }

    /// Returns every wording of a language, in the order of the built-in file.
    #[must_use]
    pub fn previews(&self, language: Language) -> Vec<Preview> {
        let OfLanguage { wording, limits, changed } = self.in_language(language);
        let preview = |name: &Name| {
            let template = wording.template(*name);
            let bodies: Vec<String> =
                examples::examples(*name, template).iter().map(|words| wording.write(words)).collect();
            let body = bodies.first().cloned().unwrap_or_default();
            let mut placeholders: Vec<String> = template.placeholders().map(str::to_owned).collect();
            placeholders.sort();
            placeholders.dedup();
            Preview {
                name: *name,
                segments: segments(&body),
                segments_max: bodies.iter().map(|body| segments(body).count).max().unwrap_or_default(),
                body,
                limit: limits.get(name).copied().unwrap_or_default(),
                placeholders,
                is_changed: changed.contains(name),
            }
        };
        Name::ALL.iter().map(preview).collect()
    }
}

#[expect(clippy::expect_used, reason = "the file is compiled in, and a test reads it")]
fn read_built_in() -> Wordings {
    Wordings { en_gb: complete(EN_GB).expect("the built-in wordings are complete") }
}

/// Reads a file that has every wording, each with its limit.
fn complete(file: &str) -> Result<OfLanguage, Vec<Fault>> {
    let (read, mut faults) = read::read(file);
    let mut limits = BTreeMap::new();
    let mut templates = BTreeMap::new();
    for entry in read.entries {
        match entry.limit {
            Some(limit) => drop(limits.insert(entry.name, limit)),
            None => faults.push(Fault::of(entry.line, entry.name, "has no limit of segments")),
        }
        templates.insert(entry.name, entry.template);
    }
    let wording = Wording::new(|name| templates.remove(&name));
    let missing = wording.as_ref().err().into_iter().flatten();
    faults.extend(missing.map(|name| Fault { line: None, ..Fault::of(0, *name, "is missing") }));
    match wording {
        Ok(wording) if faults.is_empty() => Ok(OfLanguage { wording, limits, changed: Vec::new() }),
        Ok(_) | Err(_) => Err(faults),
    }
}

#[cfg(test)]
mod tests;
