//! The settings as `jobrun settings` shows them: each value and its origin, with secrets hidden.

use super::reader::{Environment, Origin, find};
use super::table::{SETTINGS, Setting};

/// A setting and its value.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value, `(hidden)` for a secret. `None` if it is not set.
    pub value: Option<String>,
    /// The origin of the value, or its problem.
    pub origin: Result<Origin, String>,
}

/// Returns every setting with its value.
#[must_use]
pub fn show() -> Vec<Shown> {
    SETTINGS.iter().map(shown).collect()
}

fn shown(setting: &'static Setting) -> Shown {
    match find(&Environment, setting) {
        Ok((value, origin)) => {
            let value = value.map(|value| if setting.is_secret { "(hidden)".to_owned() } else { value });
            Shown { setting, value, origin: Ok(origin) }
        }
        Err(problem) => Shown { setting, value: None, origin: Err(problem) },
    }
}
