//! The signature that Twilio puts on its webhooks.
//!
//! Source: Twilio's documentation "Security", and its official libraries' behaviour where the documentation is silent.
//! Addresses are handled as plain strings: a URL parser would lower-case the host, drop a default port or escape an apostrophe,
//! and the signature would no longer match.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The header that carries the signature.
pub const HEADER: &str = "x-twilio-signature";

/// The parameters of a form, in the order in which they came.
pub type Form = Vec<(String, String)>;

/// The parameters of a form as they were received: Twilio signs bytes, and not all bytes are UTF-8.
pub type RawForm = Vec<(Vec<u8>, Vec<u8>)>;

/// How a signature is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// With an account's auth token: Twilio's default.
    HmacSha1,
    /// With a shared key, for accounts that have one.
    HmacSha256,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::HmacSha1, Self::HmacSha256];

    /// Returns the length of a signature in bytes.
    const fn length(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::HmacSha1 => "HMAC-SHA1",
            Self::HmacSha256 => "HMAC-SHA256",
        })
    }
}

/// A secret that signatures are accepted from, and the only algorithm that it may be used with.
///
/// The request does not choose the algorithm. Otherwise the holder of one secret could choose the algorithm that it counts for.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// An auth token or a shared key.
    pub secret: SecretString,
}

/// The content that is signed besides the address.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// The parameters of a form. A GET has none: its parameters are part of the address.
    Form(&'a Form),
    /// The parameters of a form as they were received.
    Raw(&'a RawForm),
    /// The bytes of a JSON body, whose SHA-256 is in the address as `bodySHA256`.
    Json(&'a [u8]),
}

impl Content<'_> {
    /// Returns the bytes that are signed after the address.
    fn parameters(self) -> Vec<u8> {
        match self {
            Self::Form(form) => parameters(form),
            Self::Raw(form) => parameters(form),
            Self::Json(_) => Vec::new(),
        }
    }

    /// Returns whether the address covers the content that is not signed itself: a JSON body, by its hash.
    fn is_covered_by(self, url: &str) -> bool {
        match self {
            Self::Form(_) | Self::Raw(_) => true,
            Self::Json(body) => body_sha256(url).is_some_and(|expected| expected == sha256(body)),
        }
    }
}

/// Returns whether the holder of one of `keys` made `signature` for a request with this content to `url`.
///
/// `url` is exactly the public address, query included. Twilio is inconsistent about the port, so the address is tried with and
/// without it. The comparison takes constant time.
#[must_use]
pub fn is_valid(keys: &[Key], url: &str, content: Content<'_>, signature: &str) -> bool {
    let Ok(signature) = BASE64_STANDARD.decode(signature) else {
        return false;
    };
    content.is_covered_by(url) && is_signed(keys, url, &content.parameters(), &signature)
}

/// Returns the signature of a form posted to `url`, as Twilio makes it with an auth token: base64, 28 characters.
#[must_use]
pub fn sign(token: &SecretString, url: &str, form: &Form) -> String {
    let key = Key { algorithm: Algorithm::HmacSha1, secret: token.clone() };
    sign_with(&key, url, Content::Form(form))
}

/// Returns the signature that the holder of `key` makes for a request to `url`, in base64.
#[must_use]
pub fn sign_with(key: &Key, url: &str, content: Content<'_>) -> String {
    let parameters = content.parameters();
    match key.algorithm {
        Algorithm::HmacSha1 => {
            BASE64_STANDARD.encode(mac::<Hmac<Sha1>>(&key.secret, url, &parameters).finalize().into_bytes())
        }
        Algorithm::HmacSha256 => {
            BASE64_STANDARD.encode(mac::<Hmac<Sha256>>(&key.secret, url, &parameters).finalize().into_bytes())
        }
    }
}

/// The reason why a signature does not match, as far as it can be determined. Nothing in it is secret or personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// There is no signature.
    Missing,
    /// It is not base64, or its length is that of no algorithm.
    NoSignature,
    /// Its length is that of an algorithm for which no key is set.
    NotAccepted(Algorithm),
    /// It matches by this algorithm, with a secret that is set for another one.
    OtherAlgorithm(Algorithm),
    /// It matches the address with http for https, or the reverse.
    OtherScheme,
    /// It matches the address with the host that the request names.
    OtherHost,
    /// It matches the address with, or without, a slash at the end of its path.
    OtherSlash,
    /// The body is JSON, and the address has no `bodySHA256`.
    NoBodyHash,
    /// It matches the address, but the body does not match the `bodySHA256` there.
    OtherBody,
    /// None of these: the token is another, or the content was changed.
    OtherTokenOrContent,
}

impl SignatureError {
    /// Returns its name, for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NoSignature => "no_signature",
            Self::NotAccepted(_) => "not_accepted",
            Self::OtherAlgorithm(_) => "other_algorithm",
            Self::OtherScheme => "other_scheme",
            Self::OtherHost => "other_host",
            Self::OtherSlash => "other_slash",
            Self::NoBodyHash => "no_body_hash",
            Self::OtherBody => "other_body",
            Self::OtherTokenOrContent => "other_token_or_content",
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("X-Twilio-Signature is missing"),
            Self::NoSignature => {
                formatter.write_str("X-Twilio-Signature is not a signature of the length that is set up")
            }
            Self::NotAccepted(algorithm) => {
                write!(
                    formatter,
                    "it is as long as one by {algorithm}, which TWILIO_SIGNATURE_ALGORITHMS does not list"
                )
            }
            Self::OtherAlgorithm(algorithm) => {
                write!(formatter, "it matches by {algorithm}, with a secret that is set for another algorithm")
            }
            Self::OtherScheme => formatter
                .write_str("it matches under the other scheme: PUBLIC_BASE_URL has http for https, or the reverse"),
            Self::OtherHost => {
                formatter.write_str("it matches for the request's Host: PUBLIC_BASE_URL names another host")
            }
            Self::OtherSlash => formatter.write_str("it matches with, or without, a slash at the end of the path"),
            Self::NoBodyHash => formatter.write_str("the body is JSON, and the address has no bodySHA256"),
            Self::OtherBody => formatter.write_str("the body is not the one whose bodySHA256 was signed"),
            Self::OtherTokenOrContent => formatter.write_str("the token is another, or the content was changed"),
        }
    }
}

/// Returns why a signature that [`is_valid`] refuses does not match. `host` is the request's own Host header: good enough for a
/// hint, and for nothing else.
#[must_use]
pub fn signature_error(
    keys: &[Key],
    url: &str,
    content: Content<'_>,
    signature: Option<&str>,
    host: Option<&str>,
) -> SignatureError {
    let Some(signature) = signature else {
        return SignatureError::Missing;
    };
    let Ok(signature) = BASE64_STANDARD.decode(signature) else {
        return SignatureError::NoSignature;
    };
    let parameters = content.parameters();
    let matches = |url: &str| is_signed(keys, url, &parameters, &signature);
    let Some(algorithm) = Algorithm::ALL.into_iter().find(|it| it.length() == signature.len()) else {
        return SignatureError::NoSignature;
    };
    if is_signed(&other_secrets_as(keys, algorithm), url, &parameters, &signature) {
        return SignatureError::OtherAlgorithm(algorithm);
    }
    if keys.iter().all(|key| key.algorithm != algorithm) {
        return SignatureError::NotAccepted(algorithm);
    }
    if let Content::Json(_) = content {
        if body_sha256(url).is_none() {
            return SignatureError::NoBodyHash;
        }
        if matches(url) {
            return SignatureError::OtherBody;
        }
    }
    let other_scheme = with_other_scheme(url);
    if matches(&other_scheme) {
        return SignatureError::OtherScheme;
    }
    if host.is_some_and(|host| matches(&with_host(url, host)) || matches(&with_host(&other_scheme, host))) {
        return SignatureError::OtherHost;
    }
    if matches(&with_other_slash(url)) {
        return SignatureError::OtherSlash;
    }
    SignatureError::OtherTokenOrContent
}

/// Returns the secrets of other algorithms, as if they were for this one.
fn other_secrets_as(keys: &[Key], algorithm: Algorithm) -> Vec<Key> {
    let others = keys.iter().filter(|key| key.algorithm != algorithm);
    others.map(|key| Key { algorithm, secret: key.secret.clone() }).collect()
}

fn is_signed(keys: &[Key], url: &str, parameters: &[u8], signature: &[u8]) -> bool {
    let spellings = spellings(url);
    keys.iter().any(|key| {
        spellings.iter().any(|url| match key.algorithm {
            Algorithm::HmacSha1 => mac::<Hmac<Sha1>>(&key.secret, url, parameters).verify_slice(signature).is_ok(),
            Algorithm::HmacSha256 => mac::<Hmac<Sha256>>(&key.secret, url, parameters).verify_slice(signature).is_ok(),
        })
    })
}

fn mac<M: Mac + KeyInit>(secret: &SecretString, url: &str, parameters: &[u8]) -> M {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = <M as KeyInit>::new_from_slice(secret.expose_secret().as_bytes()).expect("a key of any length");
    mac.update(url.as_bytes());
    mac.update(parameters);
    mac
}

/// Returns names and values without separators, sorted by name; the distinct values of a repeated name are sorted as well.
fn parameters<T: AsRef<[u8]>>(form: &[(T, T)]) -> Vec<u8> {
    let mut sorted: Vec<(&[u8], &[u8])> = form.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.iter().flat_map(|(name, value)| [*name, *value]).collect::<Vec<_>>().concat()
}

/// A digest of the signed content: the first half of a SHA-256.
pub type SignedDigest = [u8; 16];

/// Returns the digest of everything that a signature covers, below the public address.
///
/// The path, names and values are signed without separators, so that parameters can be split and joined under one signature; all
/// such forms have one digest. Scheme, host and port are left out, because a signature may be for several spellings of them.
#[must_use]
pub fn digest(path_and_query: &str, content: Content<'_>) -> SignedDigest {
    let digest = Sha256::new().chain_update(path_and_query).chain_update(content.parameters()).finalize();
    let mut half = SignedDigest::default();
    half.iter_mut().zip(digest).for_each(|(to, byte)| *to = byte);
    half
}

/// Returns the hash that the address gives for the body.
fn body_sha256(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("bodySHA256="))
}

/// Returns the SHA-256 in lower-case hexadecimal digits, as Twilio writes it.
fn sha256(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// Splits an address into scheme, host with port, and everything from the path on.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    Some((scheme, authority, path))
}

/// Returns the address as given, and the same without its port or, if it has none, with the port that its scheme implies.
fn spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    let Some((scheme, authority, path)) = parts(url) else {
        return spellings;
    };
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            spellings.push(format!("{scheme}://{host}{path}"));
        }
        _ => {
            let port = if scheme == "https" { 443 } else { 80 };
            spellings.push(format!("{scheme}://{authority}:{port}{path}"));
        }
    }
    spellings
}

fn with_other_scheme(url: &str) -> String {
    match url.strip_prefix("https://") {
        Some(rest) => format!("http://{rest}"),
        None => url.replacen("http://", "https://", 1),
    }
}

fn with_host(url: &str, host: &str) -> String {
    parts(url).map_or_else(|| url.to_owned(), |(scheme, _, path)| format!("{scheme}://{host}{path}"))
}

fn with_other_slash(url: &str) -> String {
    let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    match path.strip_suffix('/') {
        Some(path) => format!("{path}{query}"),
        None => format!("{path}/{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://example.com/sms?m=1";

    fn key(algorithm: Algorithm, secret: &str) -> Key {
        Key { algorithm, secret: SecretString::from(secret) }
    }

    fn token(secret: &str) -> Key {
        key(Algorithm::HmacSha1, secret)
    }

    fn shared(secret: &str) -> Key {
        key(Algorithm::HmacSha256, secret)
    }

    fn text() -> Form {
        [("Body", "Hi"), ("From", "+447900000001")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn every_key_is_accepted_during_rotation_and_for_its_own_algorithm_only() {
        let (form, keys) = (text(), [token("old"), token("new"), shared("first"), shared("second")]);
        for key in &keys {
            let signature = sign_with(key, URL, Content::Form(&form));
            assert!(is_valid(&keys, URL, Content::Form(&form), &signature), "{key:?}");
            assert!(!is_valid(&[token("another"), shared("another")], URL, Content::Form(&form), &signature));
        }
        let crossed = sign_with(&token("first"), URL, Content::Form(&form));
        assert!(!is_valid(&keys, URL, Content::Form(&form), &crossed));
        assert!(!is_valid(&[], URL, Content::Form(&form), &crossed));
    }

    /// Twilio's signature does not cover the boundaries of parameters, so the digest must not either.
    #[test]
    fn all_forms_under_one_signature_have_one_digest() {
        let raw = |pairs: &[(&str, &str)]| -> RawForm {
            pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
        };
        let of = |path: &str, pairs: &[(&str, &str)]| digest(path, Content::Raw(&raw(pairs)));
        let whole = digest("/sms?m=12", Content::Form(&text()));
        let alike: [(&str, &[(&str, &str)]); 4] = [
            ("/sms?m=12", &[("From", "+447900000001"), ("Body", "Hi")]),
            ("/sms?m=12", &[("Body", "Hi"), ("Body", "Hi"), ("From", "+447900000001")]),
            ("/sms?m=12", &[("Bod", "yHiFrom+447900000001")]),
            ("/sms?m=1", &[("2", ""), ("Body", "HiFrom+447900000001")]),
        ];
        for (path, pairs) in alike {
            assert_eq!(of(path, pairs), whole, "{path} {pairs:?}");
        }
        assert_ne!(of("/sms?m=12", &[("Body", "Ho"), ("From", "+447900000001")]), whole);
    }

    #[test]
    fn a_form_that_is_not_utf8_is_verified_over_its_bytes() {
        let keys = [token("token")];
        let form = |body: &[u8]| -> RawForm { vec![(b"Body".to_vec(), body.to_vec())] };
        let signature = sign_with(&keys[0], URL, Content::Raw(&form(b"caf\xE9")));
        assert!(is_valid(&keys, URL, Content::Raw(&form(b"caf\xE9")), &signature));
        assert!(!is_valid(&keys, URL, Content::Raw(&form("caf\u{FFFD}".as_bytes())), &signature));
    }

    #[test]
    fn a_malformed_signature_is_refused() {
        let (form, keys) = (text(), [token("token"), shared("shared")]);
        let good = sign(&SecretString::from("token"), URL, &form);
        let (unpadded, longer) = (good.trim_end_matches('='), format!("{good}{good}"));
        for broken in ["", "=", "not base64 at all", &good[4..], &good[1..], unpadded, &longer, &format!(" {good}")] {
            assert!(!is_valid(&keys, URL, Content::Form(&form), broken), "{broken}");
            assert_eq!(
                signature_error(&keys, URL, Content::Form(&form), Some(broken), None),
                SignatureError::NoSignature,
                "{broken}"
            );
        }
        assert_eq!(signature_error(&keys, URL, Content::Form(&form), None, None), SignatureError::Missing);
    }

    #[test]
    fn a_json_body_needs_both_its_signature_and_its_hash() {
        let keys = [token("token")];
        let body = br#"{"property": "value"}"#;
        let url = format!("https://example.com/json?bodySHA256={}", sha256(body));
        let signature = sign_with(&keys[0], &url, Content::Json(body));
        let why =
            |url: &str, body, signature: &str| signature_error(&keys, url, Content::Json(body), Some(signature), None);
        assert!(is_valid(&keys, &url, Content::Json(body), &signature));

        assert!(!is_valid(&keys, &url, Content::Json(b"{}"), &signature), "another body");
        assert_eq!(why(&url, b"{}", &signature), SignatureError::OtherBody);
        let strangers = sign_with(&token("guess"), &url, Content::Json(body));
        assert!(!is_valid(&keys, &url, Content::Json(body), &strangers), "the hash alone");
        assert_eq!(why(&url, body, &strangers), SignatureError::OtherTokenOrContent);
        let bare = sign_with(&keys[0], URL, Content::Json(body));
        assert!(!is_valid(&keys, URL, Content::Json(body), &bare), "the signature alone");
        assert_eq!(why(URL, body, &bare), SignatureError::NoBodyHash);
        let shouted = format!("https://example.com/json?bodySHA256={}", sha256(body).to_uppercase());
        let signature = sign_with(&keys[0], &shouted, Content::Json(body));
        assert!(!is_valid(&keys, &shouted, Content::Json(body), &signature), "the hash is written in lower case");
    }

    #[test]
    fn common_configuration_mistakes_are_told_apart() {
        let (form, keys) = (text(), [token("token")]);
        let host = Some("door.internal:8080");
        let cases = [
            ("http://example.com/sms?m=1", SignatureError::OtherScheme),
            ("http://example.com:80/sms?m=1", SignatureError::OtherScheme),
            ("https://door.internal:8080/sms?m=1", SignatureError::OtherHost),
            ("http://door.internal:8080/sms?m=1", SignatureError::OtherHost),
            ("https://example.com/sms/?m=1", SignatureError::OtherSlash),
            ("https://example.com/sms", SignatureError::OtherTokenOrContent),
            ("https://Example.com/sms?m=1", SignatureError::OtherTokenOrContent),
        ];
        for (signed, expected) in cases {
            let signature = sign_with(&keys[0], signed, Content::Form(&form));
            assert!(!is_valid(&keys, URL, Content::Form(&form), &signature), "{signed}");
            assert_eq!(signature_error(&keys, URL, Content::Form(&form), Some(&signature), host), expected, "{signed}");
        }
        let signature = sign_with(&keys[0], "https://example.com/sms", Content::Form(&form));
        let slashed = "https://example.com/sms/";
        assert_eq!(
            signature_error(&keys, slashed, Content::Form(&form), Some(&signature), host),
            SignatureError::OtherSlash
        );

        let why = |signer: &Key| {
            let signature = sign_with(signer, URL, Content::Form(&form));
            signature_error(&keys, URL, Content::Form(&form), Some(&signature), host)
        };
        assert_eq!(why(&token("guess")), SignatureError::OtherTokenOrContent);
        assert_eq!(why(&shared("token")), SignatureError::OtherAlgorithm(Algorithm::HmacSha256));
        assert_eq!(why(&shared("guess")), SignatureError::NotAccepted(Algorithm::HmacSha256));
    }
}
