//! The signature that Twilio puts on its webhooks.
//!
//! Source: Twilio's documentation "Security", and its official libraries' behaviour where the documentation is silent.
//! Addresses are handled as the strings they are: a URL parser would lower-case the host, drop a default port or escape an
//! apostrophe, and the signature would no longer match.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::config::Secret;

/// The header that carries the signature.
pub const HEADER: &str = "x-twilio-signature";

/// The parameters of a form, in the order in which they came.
pub type Form = Vec<(String, String)>;

/// Whether `signature` is what the holder of one of `tokens` puts on a form posted to `url`.
///
/// `url` is the public address to the letter, query included. Twilio is inconsistent about the port, so the address is
/// tried with and without it. The comparison takes the same time whether it fails early or late.
#[must_use]
pub fn is_valid(tokens: &[Secret], url: &str, form: &Form, signature: &str) -> bool {
    let Ok(signature) = BASE64_STANDARD.decode(signature) else {
        return false;
    };
    let parameters = parameters(form);
    let spellings = spellings(url);
    tokens.iter().any(|token| spellings.iter().any(|url| mac(token, url, &parameters).verify_slice(&signature).is_ok()))
}

/// The signature of a form posted to `url`, as Twilio writes it: base64, 28 characters.
#[must_use]
pub fn sign(token: &Secret, url: &str, form: &Form) -> String {
    BASE64_STANDARD.encode(mac(token, url, &parameters(form)).finalize().into_bytes())
}

fn mac(token: &Secret, url: &str, parameters: &str) -> Hmac<Sha1> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha1>::new_from_slice(token.expose().as_bytes()).expect("a key of any length");
    mac.update(url.as_bytes());
    mac.update(parameters.as_bytes());
    mac
}

/// Names and values without separators, sorted by name; the distinct values of a repeated name sorted as well.
fn parameters(form: &Form) -> String {
    let mut sorted: BTreeMap<&str, std::collections::BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in form {
        sorted.entry(name).or_default().insert(value);
    }
    let pairs = sorted.iter().flat_map(|(name, values)| values.iter().map(move |value| [*name, *value]));
    pairs.flatten().collect()
}

/// The address as given, without its port, and with the port that its scheme implies.
fn spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    let Some((scheme, rest)) = url.split_once("://") else {
        return spellings;
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Form {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn call() -> Form {
        form(&[
            ("CallSid", "CA1234567890ABCDE"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
            ("Caller", "+14158675309"),
        ])
    }

    /// Token, address, form and signature as published with Twilio's official libraries.
    #[test]
    fn published_signatures_hold() {
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let token = [Secret::new("12345")];
        let repeated = form(&[
            ("Sid", "CA123"),
            ("SidAccount", "AC123"),
            ("Digits", "5678"),
            ("Digits", "1234"),
            ("Digits", "1234"),
        ]);
        for (url, form, signature) in [
            (url, call(), "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            (url, call(), "kvajT1Ptam85bY51eRf/AJRuM3w="),
            ("http://mycompany.com/myapp.php?foo=1&bar=2", call(), "0ZXoZLH/DfblKGATFgpif+LLRf4="),
            ("http://mycompany.com:1234/myapp.php?foo=1&bar=2", call(), "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
            (url, repeated, "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
            (url, form(&[]), "zYQTYrRWXE7LtzbG4PfP7/bkkGo="),
        ] {
            assert!(is_valid(&token, url, &form, signature), "{url} {signature}");
        }
    }

    #[test]
    fn a_changed_form_address_token_or_signature_is_refused() {
        let url = "https://example.com/sms";
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let signature = sign(&new, url, &call());
        assert!(is_valid(&[old.clone(), new.clone()], url, &call(), &signature), "during rotation");
        assert!(!is_valid(&[old], url, &call(), &signature));
        assert!(!is_valid(std::slice::from_ref(&new), "https://example.com/sms/", &call(), &signature));
        assert!(!is_valid(std::slice::from_ref(&new), "https://Example.com/sms", &call(), &signature));
        let mut more = call();
        more.push(("Extra".to_owned(), String::new()));
        assert!(!is_valid(std::slice::from_ref(&new), url, &more, &signature));
        for broken in ["", "=", &signature[1..], "not base64 at all"] {
            assert!(!is_valid(std::slice::from_ref(&new), url, &call(), broken), "{broken}");
        }
    }
}
