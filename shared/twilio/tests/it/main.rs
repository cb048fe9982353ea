//! Published test vectors of Twilio's protocol, checked against the code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod signatures;
