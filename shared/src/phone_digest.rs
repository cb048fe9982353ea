//! Keyed digests of phones. They recognise the phone of an erased person, and tell no phone to a reader of the database.

use hmac::{Hmac, KeyInit, Mac};
use jobrun_onboarding::E164;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The key of the digests: `ERASURE_KEY`.
#[derive(Clone, Debug)]
pub struct PhoneKey(SecretString);

impl PhoneKey {
    /// Returns the key of the setting.
    #[must_use]
    pub const fn new(key: SecretString) -> Self {
        Self(key)
    }

    /// Returns the HMAC-SHA256 of a phone.
    #[must_use]
    pub fn digest(&self, phone: &E164) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(self.0.expose_secret().as_bytes()).expect("a key of any length");
        mac.update(phone.digits().as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_has_one_digest_by_each_key() {
        let digest = |key: &str, phone: &str| PhoneKey::new(key.into()).digest(&E164::parse(phone).unwrap());
        assert_eq!(digest("a", "+447900000001"), digest("a", "+447900000001"));
        assert_ne!(digest("a", "+447900000001"), digest("b", "+447900000001"));
        assert_ne!(digest("a", "+447900000001"), digest("a", "+447900000002"));
        assert_eq!(digest("a", "+447900000001").len(), 32);
    }
}
