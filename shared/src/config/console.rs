//! The settings of `jobrun-console`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;

use super::Log;
use super::problems::Problems;
use super::reader::{Environment, Reader, Source};

/// The settings of `jobrun-console`.
#[derive(Clone, Debug)]
pub struct Console {
    /// `DATABASE_URL`.
    pub database_url: SecretString,
    /// `CONSOLE_ADDR`.
    pub addr: SocketAddr,
    /// `CONSOLE_PUBLIC_URL`, if it is set: the origin of the console's own pages.
    pub public_url: Option<String>,
    /// `CONSOLE_SESSION_LIFETIME`.
    pub session_lifetime: Duration,
    /// `CONSOLE_TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<IpAddr>,
    /// `CONSOLE_PROXY_HEADER`, if it is set. Then people do not log in at the console.
    pub proxy_header: Option<String>,
    /// `OPS_ADDR`, if it is set.
    pub ops_addr: Option<SocketAddr>,
    /// `TWILIO_ONBOARDING_NUMBER`: texts to other numbers of ours name the number.
    pub onboarding_number: String,
    /// `STOP_WITH_STDIN`: whether the end of standard input means to stop.
    pub stop_with_stdin: bool,
    /// How lines are printed.
    pub log: Log,
}

impl Console {
    /// Reads the settings of the console from the environment.
    ///
    /// # Errors
    /// Names every setting that is missing or makes no sense.
    pub fn from_env() -> Result<Self, Problems> {
        Self::read(&Environment).map_err(Problems::or_misspelt)
    }

    pub(super) fn read(source: &dyn Source) -> Result<Self, Problems> {
        Reader::read(source, |reader| {
            let addr = reader.addr("CONSOLE_ADDR");
            let public_url = reader.console_public_url();
            let session_lifetime = reader.session_lifetime();
            let trusted_proxies = reader.trusted_proxies();
            let proxy_header = reader.proxy_header(trusted_proxies.is_empty());
            let ops_addr = reader.ops_addr();
            let onboarding_number = reader.onboarding_number();
            let stop_with_stdin = reader.stop_with_stdin();
            let database_url = reader.database_url();
            let log = reader.log();
            Some(Self {
                database_url: database_url?,
                addr: addr?,
                public_url,
                session_lifetime: session_lifetime?,
                trusted_proxies,
                proxy_header,
                ops_addr,
                onboarding_number: onboarding_number?.as_str().to_owned(),
                stop_with_stdin,
                log: log?,
            })
        })
    }
}

impl Reader<'_> {
    /// Checks the console's settings for another program.
    pub(super) fn check_console(&mut self) {
        self.session_lifetime();
        let is_without_proxies = self.trusted_proxies().is_empty();
        self.proxy_header(is_without_proxies);
    }

    /// Reads an origin: a scheme and a host, without a path.
    pub(super) fn console_public_url(&mut self) -> Option<String> {
        self.get("CONSOLE_PUBLIC_URL")?;
        let url = self.base_url("CONSOLE_PUBLIC_URL")?;
        if url.split_once("://").is_some_and(|(_, rest)| rest.contains('/')) {
            self.add_problem("CONSOLE_PUBLIC_URL has a path: the console is at the root of its host");
        }
        Some(url)
    }

    fn session_lifetime(&mut self) -> Option<Duration> {
        let lifetime = self.duration("CONSOLE_SESSION_LIFETIME");
        let lifetime = lifetime.filter(|it| (60..=30 * 24 * 60 * 60).contains(&it.as_secs()));
        if lifetime.is_none() {
            self.add_invalid("CONSOLE_SESSION_LIFETIME", "not a duration from a minute to 30 days, such as 12h");
        }
        lifetime
    }

    fn trusted_proxies(&mut self) -> Vec<IpAddr> {
        let given = self.list("CONSOLE_TRUSTED_PROXIES");
        let proxies: Vec<IpAddr> = given.iter().filter_map(|it| it.parse().ok()).collect();
        if proxies.len() != given.len() {
            self.add_invalid("CONSOLE_TRUSTED_PROXIES", "not a list of IP addresses, such as 10.0.0.7");
        }
        proxies
    }

    fn proxy_header(&mut self, is_without_proxies: bool) -> Option<String> {
        let header = self.get("CONSOLE_PROXY_HEADER")?;
        let is_a_name = |it: &str| it.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_a_name(&header) {
            self.add_invalid("CONSOLE_PROXY_HEADER", "not the name of a header, such as X-Forwarded-Email");
        }
        if is_without_proxies {
            self.add_problem("CONSOLE_PROXY_HEADER needs CONSOLE_TRUSTED_PROXIES: anyone else could send the header");
        }
        Some(header.to_ascii_lowercase())
    }
}
