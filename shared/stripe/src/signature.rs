//! The signature that Stripe puts on its webhooks.
//!
//! Source: Stripe's documentation "Webhooks", and its official libraries. Unlike the libraries, this module also refuses a time
//! from the future, which no request of Stripe's has.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The header that carries the signature: `t=<seconds>,v1=<hex>`, with a `v1` for each secret that is in use.
pub const HEADER: &str = "stripe-signature";

/// How far the time of a signature may be from ours. Stripe signs each delivery attempt anew, so retries pass.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// The reason why a webhook is not accepted as Stripe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// There is no signature.
    Missing,
    /// It has no time, or more than one, or no `v1`.
    Unreadable,
    /// It was made with none of our secrets.
    OtherSecret,
    /// It was made too long ago: the request is a copy of an old one, or our clock is wrong.
    Stale,
    /// Its time is in the future: our clock is wrong, or the time is made up.
    FromTheFuture,
}

impl SignatureError {
    /// Returns its name, for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::OtherSecret => "other_secret",
            Self::Stale => "stale",
            Self::FromTheFuture => "from_the_future",
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "there is no Stripe-Signature",
            Self::Unreadable => "Stripe-Signature has no time, or no v1",
            Self::OtherSecret => "it was not made with a secret in STRIPE_WEBHOOK_SECRET",
            Self::Stale => {
                "it is more than five minutes old: a copy of an old request, or this machine's clock is fast"
            }
            Self::FromTheFuture => "it is more than five minutes ahead of this machine's clock",
        })
    }
}

/// Verifies that the holder of one of `secrets` signed exactly `body`, within five minutes of `now`.
///
/// The time is checked last, because it means something only in a request that is Stripe's. The comparison takes constant time.
///
/// # Errors
/// The reason why the signature is not accepted.
pub fn verify(
    secrets: &[SecretString],
    signature: Option<&str>,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<(), SignatureError> {
    let signature = signature.ok_or(SignatureError::Missing)?;
    let mut times = Vec::new();
    let mut given: Vec<Vec<u8>> = Vec::new();
    for (scheme, value) in signature.split(',').filter_map(|pair| pair.split_once('=')) {
        match scheme.trim() {
            "t" => times.push(value.trim()),
            "v1" => given.extend(decode(value.trim())),
            // Other schemes are ignored: `v0` is Stripe's scheme for tests, and proves nothing.
            _ => {}
        }
    }
    let [time] = times[..] else { return Err(SignatureError::Unreadable) };
    let signed_at = time.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let signed_at = signed_at.filter(|_| !given.is_empty()).ok_or(SignatureError::Unreadable)?;
    // One HMAC for each secret, even if a forged request has many signatures.
    let made: Vec<Hmac<Sha256>> = secrets.iter().map(|secret| mac(secret, time, body)).collect();
    if !made.iter().any(|made| given.iter().any(|it| made.clone().verify_slice(it).is_ok())) {
        return Err(SignatureError::OtherSecret);
    }
    match now - signed_at {
        age if age > TOLERANCE => Err(SignatureError::Stale),
        age if age < -TOLERANCE => Err(SignatureError::FromTheFuture),
        _ => Ok(()),
    }
}

/// Returns the header that the holder of `secret` puts on a request that is signed at `at`.
#[must_use]
pub fn sign(secret: &SecretString, body: &[u8], at: DateTime<Utc>) -> String {
    let time = at.timestamp().to_string();
    let bytes = mac(secret, &time, body).finalize().into_bytes();
    format!("t={time},v1={}", hex::encode(bytes))
}

/// The whole secret is the key, `whsec_` included.
#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac(secret: &SecretString, time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("a key of any length");
    for part in [time.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

/// Returns the bytes that lower-case hexadecimal digits stand for: Stripe writes no others.
fn decode(digits: &str) -> Option<Vec<u8>> {
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    hex::decode(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1","object":"event","type":"checkout.session.completed"}"#;
    const V1: &str = "d1e4aa90551919f198c22ba0a9691b35338d4b631d54ce1f1465e93b1d41c430";
    const THEN: i64 = 1_700_000_000;

    fn secrets() -> Vec<SecretString> {
        vec![SecretString::from("whsec_another"), SecretString::from("whsec_test_secret")]
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn verified(signature: &str) -> Result<(), SignatureError> {
        verify(&secrets(), Some(signature), BODY, at(THEN))
    }

    #[test]
    fn stripe_s_own_signatures_are_accepted() {
        assert_eq!(verified(&format!("t={THEN},v1={V1}")), Ok(()));
        let library = b"{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\",\n  \"data\": { \"object\": { \"id\": \"rdr_123\", \"object\": \"terminal.reader\" } }\n}";
        let v1 = "3bfab77baf5f7b6991a46c9b53b6547d7afc56148b10468fcad9f35c1992ffbd";
        assert_eq!(verify(&secrets(), Some(&format!("t={THEN},v1={v1}")), library, at(THEN)), Ok(()));
        assert_eq!(sign(&secrets()[1], BODY, at(THEN)), format!("t={THEN},v1={V1}"));
    }

    #[test]
    fn one_valid_signature_of_several_suffices_and_other_schemes_are_ignored() {
        let zeros = "0".repeat(64);
        assert_eq!(verified(&format!("t={THEN},v1={zeros},v1={V1},v0={zeros}")), Ok(()));
        assert_eq!(verified(&format!("v1={V1}, t={THEN}")), Ok(()));
        assert_eq!(verified(&format!("t={THEN},v0={V1}")), Err(SignatureError::Unreadable));
        assert_eq!(verified(&format!("t={THEN},v1={zeros}")), Err(SignatureError::OtherSecret));
    }

    #[test]
    fn a_changed_body_time_signature_or_secret_is_refused() {
        let mut tampered = BODY.to_vec();
        tampered[8] ^= 1;
        let signature = format!("t={THEN},v1={V1}");
        assert_eq!(verify(&secrets(), Some(&signature), &tampered, at(THEN)), Err(SignatureError::OtherSecret));
        assert_eq!(verified(&format!("t={},v1={V1}", THEN + 1)), Err(SignatureError::OtherSecret));
        assert_eq!(verified(&format!("t=0{THEN},v1={V1}")), Err(SignatureError::OtherSecret));
        assert_eq!(verified(&format!("t={THEN},v1={}", V1.replace("c430", "c431"))), Err(SignatureError::OtherSecret));
        let stripped = [SecretString::from("test_secret")];
        assert_eq!(verify(&stripped, Some(&signature), BODY, at(THEN)), Err(SignatureError::OtherSecret));
        assert_eq!(verify(&[], Some(&signature), BODY, at(THEN)), Err(SignatureError::OtherSecret));
    }

    #[test]
    fn missing_and_unreadable_signatures_are_told_apart() {
        assert_eq!(verify(&secrets(), None, BODY, at(THEN)), Err(SignatureError::Missing));
        let twice = format!("t={THEN},v1={V1},t={THEN}");
        for unreadable in
            [&twice, "", "t=", "t=now,v1=00", &format!("v1={V1}"), &format!("t={THEN}"), "t=1,v1=xyz", ",,=,=="]
        {
            assert_eq!(verified(unreadable), Err(SignatureError::Unreadable), "{unreadable}");
        }
        for endless in [format!("t={},v1={V1}", i64::MAX), format!("t=99999999999999999999,v1={V1}")] {
            assert_eq!(verified(&endless), Err(SignatureError::Unreadable), "{endless}");
        }
        for odd in [format!("t={THEN},v1={}", &V1[1..]), format!("t={THEN},v1={}", V1.to_uppercase())] {
            assert_eq!(verified(&odd), Err(SignatureError::Unreadable), "{odd}");
        }
    }

    #[test]
    fn a_signature_from_too_far_in_the_past_or_future_is_refused() {
        let signature = format!("t={THEN},v1={V1}");
        let verified_at = |now| verify(&secrets(), Some(&signature), BODY, at(now));
        assert_eq!((verified_at(THEN + 300), verified_at(THEN - 300)), (Ok(()), Ok(())));
        assert_eq!(verified_at(THEN + 301), Err(SignatureError::Stale));
        assert_eq!(verified_at(THEN - 301), Err(SignatureError::FromTheFuture));
        let forged = format!("t={},v1={V1}", THEN + 10_000);
        assert_eq!(verified(&forged), Err(SignatureError::OtherSecret), "a forger learns nothing of our clock");
        let negative = sign(&secrets()[0], BODY, at(-1));
        assert_eq!(verified(&negative), Err(SignatureError::Stale));
    }
}
