//! The people who use the console, their sessions, and failed attempts to log in.
//!
//! Secrets are stored as digests. The caller computes them; see the crate `jobrun-credentials`.

mod login_failures;

mod people;

mod sessions;

pub use login_failures::*;
pub use people::*;
pub use sessions::*;
