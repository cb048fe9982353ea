//! Finds environment variables whose names are nearly those of settings: the operator believes that they are read.

/// How many letters may be missing, added or wrong: in a long name, and in a name that is short or lacks a whole word.
const LETTERS: usize = 2;
const LETTERS_OF_SHORT: usize = 1;

/// The lengths from which a name counts as long, and is compared at all. Shorter names are too close to those of other variables.
const LONG: usize = 9;
const SHORTEST: usize = 8;

/// Returns a sentence for each of `names` that is nearly one of `known`, and says which.
pub(crate) fn near_misses(names: impl Iterator<Item = String>, known: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = names.filter_map(|name| near_miss(&name, known)).collect();
    found.sort_unstable();
    found
}

fn near_miss(name: &str, known: &[&str]) -> Option<String> {
    if known.contains(&name) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let spelt = known.iter().filter(|it| it.len() >= SHORTEST).map(|it| {
        let allowed = if it.len() >= LONG { LETTERS } else { LETTERS_OF_SHORT };
        (distance(&upper, it), allowed, it)
    });
    let shortened = known.iter().flat_map(|it| {
        let words = without_a_word(it).into_iter().filter(|words| words.len() >= LONG);
        words.map(|words| (distance(&upper, &words), LETTERS_OF_SHORT, it)).collect::<Vec<_>>()
    });
    let near = spelt.chain(shortened).filter(|(letters, allowed, _)| letters <= allowed);
    let (_, _, meant) = near.min()?;
    Some(format!("{name} is set, which is no setting: is {meant} meant?"))
}

/// Returns the name without each of the words in its middle: PUBLIC_URL of PUBLIC_BASE_URL.
fn without_a_word(name: &str) -> Vec<String> {
    let words: Vec<&str> = name.split('_').collect();
    let middle = 1..words.len().saturating_sub(1);
    middle.map(|left_out| [&words[..left_out], &words[left_out + 1..]].concat().join("_")).collect()
}

/// Returns how many letters have to be added, removed or changed to turn `one` into `other` (Levenshtein distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, same) in other.iter().map(|it| *it == letter).enumerate() {
            let (above, left, corner) = (row[j + 1], next[j], row[j]);
            next.push((above + 1).min(left + 1).min(corner + usize::from(!same)));
        }
        row = next;
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SETTINGS;

    fn meant(name: &str) -> Option<String> {
        near_miss(name, &SETTINGS.map(|setting| setting.name))
    }

    #[test]
    fn a_misspelt_setting_is_found() {
        for (name, right) in [
            ("TWILIO_AUTH_TOKN", "TWILIO_AUTH_TOKEN"),
            ("TWILIO_ATUH_TOKEN", "TWILIO_AUTH_TOKEN"),
            ("TWILIO_AUTH_TOKENS", "TWILIO_AUTH_TOKEN"),
            ("twilio_auth_token", "TWILIO_AUTH_TOKEN"),
            ("TWILLIO_ACCOUNT_SID", "TWILIO_ACCOUNT_SID"),
            ("STRIPE_WEBHOOK_SECRETS", "STRIPE_WEBHOOK_SECRET"),
            ("DATABSE_URL", "DATABASE_URL"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("RETENTON", "RETENTION"),
            ("RUST_LOGS", "RUST_LOG"),
            ("PUBLIC_URL", "PUBLIC_BASE_URL"),
            ("PUBLIC_URl", "PUBLIC_BASE_URL"),
            ("PUBLIC_UL", "PUBLIC_BASE_URL"),
            ("PUBLIC_BASE_UL", "PUBLIC_BASE_URL"),
            ("PAYMENT_URL", "PAYMENT_LINK_URL"),
            ("TWILIO_TOKEN", "TWILIO_AUTH_TOKEN"),
            ("STRIPE_SECRET", "STRIPE_WEBHOOK_SECRET"),
        ] {
            assert_eq!(meant(name), Some(format!("{name} is set, which is no setting: is {right} meant?")));
        }
    }

    #[test]
    fn settings_and_other_variables_are_not_reported() {
        let others = [
            "TWILIO_REGION",
            "TWILIO_EDGE",
            "TWILIO_API_KEY",
            "STRIPE_ACCOUNT",
            "DATABASE_PORT",
            "HOMES",
            "PATHS",
            "RUST_LOG_STYLE",
            "RUST_LIB",
            "LANG",
            "OPS_TEAM",
        ];
        for name in SETTINGS.map(|setting| setting.name).into_iter().chain(others) {
            assert_eq!(meant(name), None, "{name}");
        }
    }

    /// `OPS_ADDR` is of the shortest length that is compared.
    #[test]
    fn a_short_name_may_be_wrong_by_one_letter() {
        let meant = |name| near_miss(name, &["OPS_ADDR"]);
        for name in ["OPS_ADR", "OPS_ADDRS", "OPS_ADDE", "ops_addr"] {
            assert_eq!(meant(name), Some(format!("{name} is set, which is no setting: is OPS_ADDR meant?")));
        }
        for name in ["OPS_AD", "OPS_ADMIN", "IP_ADDR", "OPS_DIR"] {
            assert_eq!(meant(name), None, "{name}");
        }
    }

    #[test]
    fn the_distance_counts_letters_in_both_directions() {
        for (one, other, letters) in [("", "", 0), ("", "abc", 3), ("abc", "abd", 1), ("kitten", "sitting", 3)] {
            assert_eq!((distance(one, other), distance(other, one)), (letters, letters), "{one} {other}");
        }
    }
}
