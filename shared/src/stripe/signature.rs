//! The signature that Stripe puts on its webhooks.
//!
//! Source: Stripe's documentation "Webhooks", and its official libraries. Unlike those, a time from the future is refused as
//! well: nothing that Stripe sends bears one.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::Secret;

/// The header that carries the signature: `t=<seconds>,v1=<hex>`, with a `v1` for each secret that is in use.
pub const HEADER: &str = "stripe-signature";

/// How far the time of a signature may be from ours. Each attempt at delivery is signed anew, so that retries pass.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// Why a webhook is not taken for Stripe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// There is no signature.
    Missing,
    /// It has no time, or more than one, or no `v1`.
    Unreadable,
    /// None of our secrets gives it.
    OtherSecret,
    /// It was made too long ago: the request is a copy of an old one, or our clock is wrong.
    Stale,
    /// It will be made only in a while: our clock is wrong, or somebody made it up.
    FromTheFuture,
}

impl fmt::Display for WhyNot {
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

/// Makes sure that the holder of one of `secrets` signed `body`, to the byte, at about `now`.
///
/// The time is looked at last: only of a request that is Stripe's does it mean anything. The comparison takes the same time
/// whether it fails early or late.
///
/// # Errors
/// Says why not.
pub fn verify(secrets: &[Secret], signature: Option<&str>, body: &[u8], now: DateTime<Utc>) -> Result<(), WhyNot> {
    let signature = signature.ok_or(WhyNot::Missing)?;
    let mut times = Vec::new();
    let mut given: Vec<Vec<u8>> = Vec::new();
    for (scheme, value) in signature.split(',').filter_map(|pair| pair.split_once('=')) {
        match scheme.trim() {
            "t" => times.push(value.trim()),
            "v1" => given.extend(decode(value.trim())),
            // Other schemes are not for us: `v0` is Stripe's for tests, and proves nothing.
            _ => {}
        }
    }
    let [time] = times[..] else { return Err(WhyNot::Unreadable) };
    let signed_at = time.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let signed_at = signed_at.filter(|_| !given.is_empty()).ok_or(WhyNot::Unreadable)?;
    // Once for each secret, however many signatures a stranger gives.
    let made: Vec<Hmac<Sha256>> = secrets.iter().map(|secret| mac(secret, time, body)).collect();
    if !made.iter().any(|made| given.iter().any(|it| made.clone().verify_slice(it).is_ok())) {
        return Err(WhyNot::OtherSecret);
    }
    match now - signed_at {
        age if age > TOLERANCE => Err(WhyNot::Stale),
        age if age < -TOLERANCE => Err(WhyNot::FromTheFuture),
        _ => Ok(()),
    }
}

/// The header that the holder of `secret` puts on a request that is signed at `at`.
#[must_use]
pub fn sign(secret: &Secret, body: &[u8], at: DateTime<Utc>) -> String {
    let time = at.timestamp().to_string();
    let bytes = mac(secret, &time, body).finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={time},v1={hex}")
}

/// The whole secret is the key, `whsec_` included.
#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac(secret: &Secret, time: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("a key of any length");
    for part in [time.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

/// The bytes that small hexadecimal digits stand for.
fn decode(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1","object":"event","type":"checkout.session.completed"}"#;
    const V1: &str = "d1e4aa90551919f198c22ba0a9691b35338d4b631d54ce1f1465e93b1d41c430";
    const THEN: i64 = 1_700_000_000;

    fn secrets() -> Vec<Secret> {
        vec![Secret::new("whsec_another"), Secret::new("whsec_test_secret")]
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn verified(signature: &str) -> Result<(), WhyNot> {
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
    fn any_of_several_signatures_will_do_and_other_schemes_prove_nothing() {
        let zeros = "0".repeat(64);
        assert_eq!(verified(&format!("t={THEN},v1={zeros},v1={V1},v0={zeros}")), Ok(()));
        assert_eq!(verified(&format!("v1={V1}, t={THEN}")), Ok(()));
        assert_eq!(verified(&format!("t={THEN},v0={V1}")), Err(WhyNot::Unreadable));
        assert_eq!(verified(&format!("t={THEN},v1={zeros}")), Err(WhyNot::OtherSecret));
    }

    #[test]
    fn nothing_of_it_can_be_changed() {
        let mut tampered = BODY.to_vec();
        tampered[8] ^= 1;
        let signature = format!("t={THEN},v1={V1}");
        assert_eq!(verify(&secrets(), Some(&signature), &tampered, at(THEN)), Err(WhyNot::OtherSecret));
        assert_eq!(verified(&format!("t={},v1={V1}", THEN + 1)), Err(WhyNot::OtherSecret));
        assert_eq!(verified(&format!("t=0{THEN},v1={V1}")), Err(WhyNot::OtherSecret));
        assert_eq!(verified(&format!("t={THEN},v1={}", V1.replace("c430", "c431"))), Err(WhyNot::OtherSecret));
        let stripped = [Secret::new("test_secret")];
        assert_eq!(verify(&stripped, Some(&signature), BODY, at(THEN)), Err(WhyNot::OtherSecret));
        assert_eq!(verify(&[], Some(&signature), BODY, at(THEN)), Err(WhyNot::OtherSecret));
    }

    #[test]
    fn what_is_no_signature_is_named() {
        assert_eq!(verify(&secrets(), None, BODY, at(THEN)), Err(WhyNot::Missing));
        let twice = format!("t={THEN},v1={V1},t={THEN}");
        for unreadable in
            [&twice, "", "t=", "t=now,v1=00", &format!("v1={V1}"), &format!("t={THEN}"), "t=1,v1=xyz", ",,=,=="]
        {
            assert_eq!(verified(unreadable), Err(WhyNot::Unreadable), "{unreadable}");
        }
        for endless in [format!("t={},v1={V1}", i64::MAX), format!("t=99999999999999999999,v1={V1}")] {
            assert_eq!(verified(&endless), Err(WhyNot::Unreadable), "{endless}");
        }
        for odd in [format!("t={THEN},v1={}", &V1[1..]), format!("t={THEN},v1={}", V1.to_uppercase())] {
            assert_eq!(verified(&odd), Err(WhyNot::Unreadable), "{odd}");
        }
    }

    #[test]
    fn time_counts_in_both_directions() {
        let signature = format!("t={THEN},v1={V1}");
        let verified_at = |now| verify(&secrets(), Some(&signature), BODY, at(now));
        assert_eq!((verified_at(THEN + 300), verified_at(THEN - 300)), (Ok(()), Ok(())));
        assert_eq!(verified_at(THEN + 301), Err(WhyNot::Stale));
        assert_eq!(verified_at(THEN - 301), Err(WhyNot::FromTheFuture));
        let forged = format!("t={},v1={V1}", THEN + 10_000);
        assert_eq!(verified(&forged), Err(WhyNot::OtherSecret), "a forger learns nothing of our clock");
        let negative = sign(&secrets()[0], BODY, at(-1));
        assert_eq!(verified(&negative), Err(WhyNot::Stale));
    }
}
