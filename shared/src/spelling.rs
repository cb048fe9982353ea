//! Settings whose names are nearly right: they are not read, and their owner believes that they are.

/// How many letters may be missing, too many or wrong: in a long name, and in a short one or one that misses a whole word.
const LETTERS: usize = 2;
const LETTERS_OF_SHORT: usize = 1;

/// Shorter names are too near to names that mean something else: those of less than eight letters to all of them.
const LONG: usize = 9;
const SHORTEST: usize = 8;

/// Says of each of `names` that is nearly one of `known`, and none of them, which one that is.
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

/// The name without one of the words in its middle: PUBLIC_URL of PUBLIC_BASE_URL.
fn without_a_word(name: &str) -> Vec<String> {
    let words: Vec<&str> = name.split('_').collect();
    let middle = 1..words.len().saturating_sub(1);
    middle.map(|left_out| [&words[..left_out], &words[left_out + 1..]].concat().join("_")).collect()
}

/// How many letters have to be added, removed or changed to make `one` into `other` (Levenshtein).
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
    use crate::config::NAMES;

    fn meant(name: &str) -> Option<String> {
        near_miss(name, &NAMES)
    }

    #[test]
    fn a_slip_of_the_pen_is_found() {
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
    fn what_is_right_or_means_something_else_is_passed_over() {
        let others = [
            "TWILIO_REGION",
            "TWILIO_EDGE",
            "TWILIO_API_KEY",
            "STRIPE_API_KEY",
            "DATABASE_PORT",
            "HOMES",
            "PATHS",
            "RUST_LOG_STYLE",
            "RUST_LIB",
            "LANG",
            "OPS_TEAM",
        ];
        for name in NAMES.into_iter().chain(others) {
            assert_eq!(meant(name), None, "{name}");
        }
    }

    /// As short as a setting may be of which slips are found.
    #[test]
    fn a_slip_in_a_short_name_is_found_by_one_letter() {
        let meant = |name| near_miss(name, &["OPS_ADDR"]);
        for name in ["OPS_ADR", "OPS_ADDRS", "OPS_ADDE", "ops_addr"] {
            assert_eq!(meant(name), Some(format!("{name} is set, which is no setting: is OPS_ADDR meant?")));
        }
        for name in ["OPS_AD", "OPS_ADMIN", "IP_ADDR", "OPS_DIR"] {
            assert_eq!(meant(name), None, "{name}");
        }
    }

    #[test]
    fn letters_are_counted() {
        for (one, other, letters) in [("", "", 0), ("", "abc", 3), ("abc", "abd", 1), ("kitten", "sitting", 3)] {
            assert_eq!((distance(one, other), distance(other, one)), (letters, letters), "{one} {other}");
        }
    }
}
