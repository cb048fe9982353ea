//! Signatures that were published with Twilio's official libraries, or computed with them.

use jobrun_twilio::signature::{Algorithm, Content, Form, Key, SignatureError, is_valid, sign_with, signature_error};
use secrecy::SecretString;
use serde::Deserialize;

/// The body of every vector whose address contains a `bodySHA256`.
const JSON_BODY: &[u8] = br#"{"property": "value", "boolean": true}"#;

#[derive(Deserialize)]
struct Vector {
    name: String,
    token: String,
    url: String,
    params: Form,
    algorithm: String,
    signature: String,
}

impl Vector {
    fn key(&self) -> Key {
        let algorithm = match self.algorithm.as_str() {
            "HMAC_SHA1" => Algorithm::HmacSha1,
            "HMAC_SHA256" => Algorithm::HmacSha256,
            other => panic!("{other} in {}", self.name),
        };
        Key { algorithm, secret: SecretString::from(self.token.as_str()) }
    }

    fn is_json(&self) -> bool {
        self.url.contains("bodySHA256=")
    }

    fn content(&self) -> Content<'_> {
        if self.is_json() { Content::Json(JSON_BODY) } else { Content::Form(&self.params) }
    }

    fn holds_for(&self, key: Key, url: &str, content: Content<'_>) -> bool {
        is_valid(&[key], url, content, &self.signature)
    }
}

fn vectors() -> Vec<Vector> {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../signature_vectors.json")).unwrap();
    assert_eq!(vectors.len(), 21);
    vectors
}

/// Returns every text that differs from this one in the lowest bit of one byte.
fn with_one_byte_changed(text: &str) -> impl Iterator<Item = String> {
    (0..text.len()).map(move |at| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1;
        String::from_utf8(bytes).unwrap()
    })
}

/// Returns forms that differ from this one in one value, in one name, or by one parameter more or less.
fn with_one_parameter_changed(form: &Form) -> Vec<Form> {
    let mut changed = vec![[form.clone(), vec![("Extra".to_owned(), String::new())]].concat()];
    for at in 0..form.len() {
        let (mut value, mut name, mut fewer) = (form.clone(), form.clone(), form.clone());
        value[at].1.push('!');
        name[at].0.push('!');
        let gone = fewer.remove(at);
        changed.extend([value, name]);
        // A repeated value counts once, so a form without one of two equal parameters is the same form.
        if !fewer.contains(&gone) {
            changed.push(fewer);
        }
    }
    changed
}

#[test]
fn every_published_signature_is_valid_and_equals_ours() {
    for vector in vectors() {
        assert!(vector.holds_for(vector.key(), &vector.url, vector.content()), "{}", vector.name);
        assert_eq!(sign_with(&vector.key(), &vector.url, vector.content()), vector.signature, "{}", vector.name);
    }
}

#[test]
fn no_published_signature_is_valid_for_changed_input() {
    for vector in vectors() {
        let name = &vector.name;
        for url in with_one_byte_changed(&vector.url) {
            assert!(!vector.holds_for(vector.key(), &url, vector.content()), "{name}: {url}");
        }
        for form in with_one_parameter_changed(&vector.params) {
            assert!(!vector.holds_for(vector.key(), &vector.url, Content::Form(&form)), "{name}: {form:?}");
        }
        for secret in with_one_byte_changed(&vector.token).chain([String::new(), format!("{}6", vector.token)]) {
            let key = Key { secret: SecretString::from(secret), ..vector.key() };
            assert!(!vector.holds_for(key, &vector.url, vector.content()), "{name}: another token");
        }
        for signature in with_one_byte_changed(&vector.signature) {
            assert!(!is_valid(&[vector.key()], &vector.url, vector.content(), &signature), "{name}: {signature}");
        }
    }
}

#[test]
fn a_json_body_is_checked_against_the_hash_in_its_address() {
    let json: Vec<Vector> = vectors().into_iter().filter(Vector::is_json).collect();
    assert_eq!(json.len(), 2);
    let body = std::str::from_utf8(JSON_BODY).unwrap();
    for vector in json {
        for body in with_one_byte_changed(body).chain([String::new(), format!("{body}\n")]) {
            let content = Content::Json(body.as_bytes());
            assert!(!vector.holds_for(vector.key(), &vector.url, content), "{}: {body}", vector.name);
            let why = signature_error(&[vector.key()], &vector.url, content, Some(&vector.signature), None);
            assert_eq!(why, SignatureError::OtherBody, "{}", vector.name);
        }
        let (bare, _) = vector.url.split_once("bodySHA256").unwrap();
        let signature = sign_with(&vector.key(), bare, vector.content());
        assert!(!is_valid(&[vector.key()], bare, vector.content(), &signature), "{}: no hash", vector.name);
    }
}

/// The request never chooses the key, not even by the length of its signature.
#[test]
fn a_signature_by_an_algorithm_that_is_not_set_up_is_refused() {
    for vector in vectors() {
        let (right, other) = match vector.key().algorithm {
            Algorithm::HmacSha1 => (Algorithm::HmacSha1, Algorithm::HmacSha256),
            Algorithm::HmacSha256 => (Algorithm::HmacSha256, Algorithm::HmacSha1),
        };
        let key = Key { algorithm: other, ..vector.key() };
        let why =
            signature_error(std::slice::from_ref(&key), &vector.url, vector.content(), Some(&vector.signature), None);
        assert_eq!(why, SignatureError::OtherAlgorithm(right), "{}", vector.name);
        assert!(!vector.holds_for(key, &vector.url, vector.content()), "{}", vector.name);
    }
    assert_eq!(vectors().iter().filter(|it| it.key().algorithm == Algorithm::HmacSha256).count(), 1);
}

/// Twilio signs some addresses with their port and some without, and the configured address may have it or not.
#[test]
fn the_port_may_be_in_the_address_or_left_out() {
    let vector = |name: &str| vectors().into_iter().find(|it| it.name == name).unwrap();
    for (name, url) in [
        ("signed with :443", "https://mycompany.com/myapp.php?foo=1&bar=2"),
        ("signed with http :80", "http://mycompany.com/myapp.php?foo=1&bar=2"),
        ("form, https", "https://mycompany.com:443/myapp.php?foo=1&bar=2"),
        ("form, https", "https://mycompany.com:8443/myapp.php?foo=1&bar=2"),
    ] {
        let vector = vector(name);
        assert!(vector.holds_for(vector.key(), url, vector.content()), "{name}: {url}");
    }
    let vector = vector("signed with :443");
    let url = "https://mycompany.com:8443/myapp.php?foo=1&bar=2";
    assert!(!vector.holds_for(vector.key(), url, vector.content()), "a port that was not signed");
}
