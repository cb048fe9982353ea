//! The codes by which a client proves that it has its old phone. Only a keyed digest of a code is kept.

use hmac::{Hmac, KeyInit, Mac};
use jobrun_onboarding::phone_change::code_of;
use sha2::Sha256;

use crate::db::phone_changes::StoredCode;

/// A new code.
pub struct NewCode {
    /// The digits, for the text to the old phone alone.
    pub digits: String,
    /// Its digest, which is kept.
    pub stored: StoredCode,
}

/// Makes a code, with a key of its own.
///
/// # Panics
/// When the machine has no randomness.
#[must_use]
pub fn new() -> NewCode {
    let (mut number, mut key) = ([0; 4], vec![0; 32]);
    #[expect(clippy::expect_used, reason = "without randomness there is no safe code")]
    getrandom::fill(&mut number).and_then(|()| getrandom::fill(&mut key)).expect("the machine has randomness");
    let digits = code_of(u32::from_le_bytes(number));
    let hmac = mac(&key, &digits).finalize().into_bytes().to_vec();
    NewCode { digits, stored: StoredCode { key, hmac } }
}

/// Returns whether `digits` is the stored code. Takes the same time for every wrong code.
#[must_use]
pub fn is_right(stored: &StoredCode, digits: &str) -> bool {
    mac(&stored.key, digits).verify_slice(&stored.hmac).is_ok()
}

fn mac(key: &[u8], digits: &str) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("a key of any length");
    mac.update(digits.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_right_with_its_own_digest_alone() {
        let (one, other) = (new(), new());
        assert!(is_right(&one.stored, &one.digits));
        assert!(!is_right(&StoredCode { key: other.stored.key, ..one.stored.clone() }, &one.digits));
        assert!(!is_right(&one.stored, ""));
        assert_eq!((one.digits.len(), one.stored.hmac.len()), (6, 32));
        let stored = format!("{:?}", one.stored);
        assert!(!stored.contains(&one.digits), "{stored}");
    }
}
