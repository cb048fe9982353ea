//! The exit statuses of the programs: 0 for success; 1 for no, or not possible now; 2 for wrong settings or a wrong request; 130
//! for stopped before the end.

use std::error::Error;

use crate::config::Problems;
use crate::db::ConnectError;
use crate::refusal::Refusal;

/// The answer is no, or the request could not be carried out.
pub const NO: u8 = 1;

/// The settings or the request are at fault, so that a repetition fails again.
pub const USAGE: u8 = 2;

/// Interrupted by Ctrl-C, as shells report it (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;

/// The program was told to stop before its work was done.
#[derive(Debug, thiserror::Error)]
#[error("stopped before the end")]
pub struct Interrupted;

/// Returns the exit status of a program that ends with an error, from the chain of its causes.
pub fn status_of<'a>(causes: impl Iterator<Item = &'a (dyn Error + 'static)>) -> u8 {
    causes.fold(NO, |status, cause| {
        let at_fault = cause.is::<Problems>()
            || cause.downcast_ref().is_some_and(ConnectError::is_of_the_settings)
            || cause.downcast_ref().is_some_and(Refusal::is_of_the_request);
        match (at_fault, cause.is::<Interrupted>()) {
            (true, _) => USAGE,
            (false, true) => INTERRUPTED,
            (false, false) => status,
        }
    })
}
