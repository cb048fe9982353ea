//! What the operator's guide says about each kind of alert. The guide is compiled in, so that both say the same.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The entry of a kind of alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// How urgent it is.
    pub urgency: String,
    /// What it means.
    pub means: String,
    /// Where to look.
    pub look_at: String,
    /// What to do.
    pub action: String,
}

static REMEDIES: LazyLock<BTreeMap<String, Remedy>> = LazyLock::new(|| read(include_str!("../../guide/operating.md")));

/// Returns what the guide says about the alert with this cause.
#[must_use]
pub fn find(cause: &str) -> Option<&'static Remedy> {
    let kind = cause.split(':').next().unwrap_or_default();
    REMEDIES.get(kind).or_else(|| {
        // `waiting-20h` is of the kind `waiting`.
        let (kind, _) = kind.rsplit_once('-')?;
        REMEDIES.get(kind)
    })
}

fn read(guide: &str) -> BTreeMap<String, Remedy> {
    let entries = guide.split("\n### `").skip(1);
    let entry = |text: &str| {
        let (name, rest) = text.split_once("`\n")?;
        let part = |head: &str| {
            let begin = rest.find(&format!("\n{head} "))? + head.len() + 2;
            let paragraph = rest.get(begin..)?.split("\n\n").next()?;
            Some(plain(paragraph))
        };
        let part = |head: &str| part(head).unwrap_or_default();
        let remedy =
            Remedy { urgency: part("Urgency:"), means: part("Means:"), look_at: part("Look at:"), action: part("Do:") };
        Some((name.to_owned(), remedy))
    };
    entries.filter_map(entry).collect()
}

/// Returns the words of a paragraph: the addresses of links and the marks of code are left out.
fn plain(markdown: &str) -> String {
    let mut out = String::new();
    let mut rest = markdown;
    while let Some(at) = rest.find("](") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    let words: String = out.chars().filter(|it| !"[`*".contains(*it)).collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_alert_has_a_remedy_in_plain_words() {
        for (_, name) in jobrun_shared::alerts::KINDS {
            let remedy = find(&format!("{name}:subject")).unwrap_or_else(|| panic!("{name} has none"));
            for part in [&remedy.urgency, &remedy.means, &remedy.look_at, &remedy.action] {
                assert!(!part.is_empty() && !part.contains("]("), "{name}: {part}");
            }
        }
        assert!(find("waiting-20h").is_some(), "a cause without a colon");
    }
}
