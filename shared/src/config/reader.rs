//! Reads one setting: from the environment, from a file, or its default.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::problems::{Problems, not_set};
use super::table::Setting;

/// Longer values are not shown: they may be secrets that were meant for another setting.
const SHOWN_CHARS_MAX: usize = 24;

/// An example of the address of an ops port.
pub(super) const OPS_ADDR_EXAMPLE: &str = "127.0.0.1:9470";

/// A source of settings: the environment, and in tests a list.
pub(super) trait Source {
    fn get(&self, name: &str) -> Option<String>;
}

pub(super) struct Environment;

impl Source for Environment {
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// The place where the value of a setting was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the environment, under this name.
    Environment(String),
    /// In the file of this path.
    File(String),
    /// The table: it is the default.
    Default,
    /// Nowhere.
    NotSet,
}

/// The value of a setting, if it has one, and its origin.
type Found = (Option<String>, Origin);

/// Returns the value of a variable without white space around it. An empty value counts as not set.
fn value_of(source: &dyn Source, name: &str) -> Option<String> {
    source.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Finds a setting: in the environment, there under its earlier name, in the file that `…_FILE` names, or its default. An empty
/// value counts as not set.
///
/// # Errors
/// A sentence that says that two of these hold a value, or that the file cannot be read or is empty.
pub(super) fn find(source: &dyn Source, setting: &Setting) -> Result<Found, String> {
    let get = |name: &str| value_of(source, name);
    let name = setting.name;
    let mut found: Vec<(String, Origin)> = Vec::new();
    for variable in [Some(name), setting.earlier_name].into_iter().flatten() {
        found.extend(get(variable).map(|value| (value, Origin::Environment(variable.to_owned()))));
    }
    if let Some(file_name) = setting.file_name()
        && let Some(path) = get(&file_name)
    {
        let value = std::fs::read_to_string(&path).map_err(|error| format!("{file_name} cannot be read: {error}"))?;
        let value = value.trim().to_owned();
        if value.is_empty() {
            return Err(format!("{file_name} names an empty file"));
        }
        found.push((value, Origin::File(path)));
    }
    if found.len() > 1 {
        let others = [setting.earlier_name.map(str::to_owned), setting.file_name()];
        let others: Vec<String> = others.into_iter().flatten().collect();
        return Err(format!("{name} and {} are both set: take one away", others.join(" or ")));
    }
    Ok(match (found.pop(), setting.default) {
        (Some((value, origin)), _) => (Some(value), origin),
        (None, Some(default)) => (Some(default.to_owned()), Origin::Default),
        (None, None) => (None, Origin::NotSet),
    })
}

pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    /// The settings found so far. `None`: the setting has a problem.
    found: RefCell<BTreeMap<&'static str, Option<Found>>>,
    problems: RefCell<Vec<String>>,
}

impl<'a> Reader<'a> {
    /// Reads the settings of a program. `read` has to read all of them before its first `?`, so that every problem is named.
    ///
    /// # Errors
    /// Every problem of the settings.
    pub(super) fn read<T>(source: &'a dyn Source, read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Problems> {
        let mut reader = Self { source, found: RefCell::default(), problems: RefCell::default() };
        let settings = read(&mut reader);
        let problems = reader.problems.into_inner();
        settings.filter(|_| problems.is_empty()).ok_or(Problems(problems))
    }

    pub(super) fn add_problem(&mut self, problem: impl Into<String>) {
        self.problems.borrow_mut().push(problem.into());
    }

    /// Returns the value of a setting, or its default.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.find(name)?.0
    }

    /// Finds a setting. It is looked for once, so that the file of a secret is read once.
    fn find(&self, name: &str) -> Option<Found> {
        let setting = Setting::named(name);
        debug_assert!(setting.is_some(), "{name} is not in the table of settings");
        let setting = setting?;
        let mut settings = self.found.borrow_mut();
        let found = settings.entry(setting.name).or_insert_with(|| match find(self.source, setting) {
            Ok(found) => Some(found),
            Err(problem) => {
                self.problems.borrow_mut().push(problem);
                None
            }
        });
        found.clone()
    }

    /// Returns whether the setting could be looked for, with or without a value. If not, its problem has been added.
    pub(super) fn can_be_found(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns whether a setting is kept in a file, which may be readable only for the program that needs it.
    pub(super) fn is_in_a_file(&self, name: &str) -> bool {
        let file_name = Setting::named(name).and_then(Setting::file_name);
        file_name.is_some_and(|file_name| value_of(self.source, &file_name).is_some())
    }

    pub(super) fn is_default(&self, name: &str) -> bool {
        self.find(name).is_some_and(|(_, origin)| origin == Origin::Default)
    }

    pub(super) fn required(&mut self, name: &str, example: &str) -> Option<String> {
        let value = self.get(name);
        if value.is_none() && self.can_be_found(name) {
            self.add_problem(not_set(name, example));
        }
        value
    }

    /// Adds the problem that a setting has the wrong form, and shows its value. Only for settings that hold no secret.
    pub(super) fn add_invalid(&mut self, name: &str, expected: &str) {
        let Some((value, origin)) = self.find(name) else { return };
        let name = if let Origin::Environment(variable) = origin { variable } else { name.to_owned() };
        let value = value.filter(|value| value.chars().count() <= SHOWN_CHARS_MAX);
        let shown = value.map(|value| format!(": {value:?}")).unwrap_or_default();
        self.add_problem(format!("{name} is {expected}{shown}"));
    }

    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let value = self.get(name).and_then(|value| value.parse().ok());
        if value.is_none() {
            self.add_invalid(name, &format!("not {expected}"));
        }
        value
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let values = self.get(name).unwrap_or_default();
        values.split(',').map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect()
    }

    /// Reads a SID of Twilio's: two letters for the kind of thing (`prefix`), and 32 hexadecimal digits.
    pub(super) fn sid_if_set(&mut self, name: &str, prefix: &str) -> Option<String> {
        let sid = self.get(name)?;
        let digits = sid.strip_prefix(prefix).unwrap_or_default();
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.add_problem(format!("{name} is not {prefix} and 32 hexadecimal digits"));
        }
        Some(sid)
    }

    /// Reads a web address to which paths are appended. Twilio's signature covers it to the letter, so only a slash at the end is
    /// removed.
    pub(super) fn base_url(&mut self, name: &str) -> Option<String> {
        let value = self.required(name, "https://onboarding.example.com")?;
        let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
        match rest {
            None => self.add_problem(format!("{name} does not begin with https:// or http://")),
            Some(rest) if rest.contains(['@', '?', '#']) || rest.contains(char::is_whitespace) => {
                self.add_problem(format!("{name} has more in it than a host, a port and a path"));
            }
            Some("") => self.add_problem(format!("{name} names no host")),
            Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('_')) => {
                self.add_problem(format!("{name} has an underscore in its host, which Twilio does not take"));
            }
            Some(_) => {}
        }
        Some(value.trim_end_matches('/').to_owned())
    }

    /// Reads an address that has a default, which is the example as well.
    pub(super) fn addr(&mut self, name: &str) -> Option<SocketAddr> {
        self.addr_such_as(name, Setting::named(name)?.default?)
    }

    /// Reads the address of the ops port, if it is set.
    pub(super) fn ops_addr(&mut self) -> Option<SocketAddr> {
        self.get("OPS_ADDR").and_then(|_| self.addr_such_as("OPS_ADDR", OPS_ADDR_EXAMPLE))
    }

    pub(super) fn addr_such_as(&mut self, name: &str, example: &str) -> Option<SocketAddr> {
        self.parsed(name, &format!("an address with a port, such as {example}"))
    }

    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        humantime::parse_duration(&self.get(name)?).ok()
    }

    pub(super) fn interval(&mut self, name: &str) -> Option<Duration> {
        let interval = self.duration(name);
        let interval = interval.filter(|it| it.as_secs() >= 1 && it.subsec_nanos() == 0);
        if interval.is_none() {
            self.add_invalid(name, "not a duration in whole seconds, such as 60s or 5m");
        }
        interval
    }
}
