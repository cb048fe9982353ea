//! Passwords and random secrets of the people who use the console.
//!
//! A password is stored as its Argon2id hash. A session, and a link to log in, is a random secret of 256 bits, of which only the
//! SHA-256 is stored: a copy of the database lets nobody in.

use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// The least and the greatest length of a password, in characters. A limit keeps the cost of a hash bounded.
pub const LENGTHS: std::ops::RangeInclusive<usize> = 12..=200;

/// A password cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its length is outside of [`LENGTHS`].
    #[error("a password has {} to {} characters", LENGTHS.start(), LENGTHS.end())]
    Length,
    /// It cannot be hashed.
    #[error("the password cannot be hashed: {0}")]
    Hash(#[from] password_hash::Error),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// Returns the hash of a password, to be stored. Takes tens of milliseconds of processor time.
///
/// # Errors
/// When the password is too short or too long, or the system gives no random bytes for the salt.
pub fn hash(password: &str) -> Result<String, Error> {
    if !LENGTHS.contains(&password.chars().count()) {
        return Err(Error::Length);
    }
    Ok(Argon2::default().hash_password(password.as_bytes())?.to_string())
}

/// Returns whether `password` is the one of `stored`. Without a stored hash, takes as long and returns false: the time tells
/// nobody whether a name exists.
#[must_use]
pub fn verify(password: &str, stored: Option<&str>) -> bool {
    // The hash of a random password, with the parameters of `Argon2::default()`.
    const OF_NOBODY: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHR0aGF0aXM$kO1nXvZ1DqyXs5uXkqJ2rD0dYcVq0cVb0M0mSgV4zvE";
    if password.chars().count() > *LENGTHS.end() {
        return false;
    }
    let matches = |hash: &str| {
        let hash = PasswordHash::new(hash).ok()?;
        Argon2::default().verify_password(password.as_bytes(), &hash).ok()
    };
    let matched = matches(stored.unwrap_or(OF_NOBODY)).is_some();
    matched && stored.is_some()
}

/// A random secret, and its digest, which is stored.
#[derive(Clone)]
pub struct Token {
    /// The secret: 43 characters that need no escaping in a cookie or an address.
    pub secret: String,
    /// Its SHA-256.
    pub digest: Vec<u8>,
}

impl Token {
    /// Returns a new token of 256 random bits.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let secret = URL_SAFE_NO_PAD.encode(bytes);
        Ok(Self { digest: digest(&secret), secret })
    }
}

/// Returns the SHA-256 of a secret.
#[must_use]
pub fn digest(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_and_no_other() {
        let stored = hash("correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$"));
        assert!(verify("correct horse battery", Some(&stored)));
        assert!(!verify("correct horse batterz", Some(&stored)));
        assert!(!verify("correct horse battery", None));
        assert!(!verify("correct horse battery", Some("not a hash")));
    }

    #[test]
    fn an_unknown_name_costs_as_much_as_a_known_one() {
        let time = |stored: Option<&str>| {
            let begun = std::time::Instant::now();
            (0..3).for_each(|_| assert!(!verify("wrong password", stored)));
            begun.elapsed().as_secs_f64()
        };
        let stored = hash("correct horse battery").unwrap();
        let (known, unknown) = (time(Some(&stored)), time(None));
        assert!(unknown > known / 3.0, "{known} and {unknown}");
    }

    #[test]
    fn a_password_that_is_too_short_or_too_long_is_refused() {
        assert!(matches!(hash("short"), Err(Error::Length)));
        assert!(matches!(hash(&"x".repeat(201)), Err(Error::Length)));
    }

    #[test]
    fn tokens_differ_and_only_their_digest_is_stored() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_ne!(one.secret, other.secret);
        assert_eq!((one.secret.len(), one.digest.len()), (43, 32));
        assert_eq!(digest(&one.secret), one.digest);
    }
}
