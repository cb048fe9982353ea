//! The settings of the programs: the only reader of the environment.
//!
//! Every setting that is missing or makes no sense is named at once. Values are repeated only of settings that hold no secret:
//! durations, counts, addresses to listen at, and choices.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use jobrun_onboarding::E164;

use crate::spelling;
use crate::twilio::signature::{Algorithm, Key};

const ONBOARDING_NUMBER_DEFAULT: &str = "+447476955179";
const TWILIO_API_BASE_URL_DEFAULT: &str = "https://api.twilio.com";
const SIGNATURE_ALGORITHMS_DEFAULT: &str = "sha1";
const SIGNATURE_MODE_DEFAULT: &str = "enforce";
const INGRESS_ADDR_DEFAULT: &str = "0.0.0.0:8080";
/// With `jobrun up`, which is for trying out: not to be reached from other machines, unless told so.
const UP_INGRESS_ADDR_DEFAULT: &str = "127.0.0.1:8080";
const STAND_IN_ADDR_DEFAULT: &str = "127.0.0.1:8090";
const SWEEP_INTERVAL_DEFAULT: &str = "60s";
const HOLD_DURATION_DEFAULT: &str = "48h";
const NUMBER_COOLING_DEFAULT: &str = "30d";
const AUDIT_INTERVAL_DEFAULT: &str = "5m";
const SEGMENTS_PER_SECOND_DEFAULT: &str = "10";
const BUY_MAX_DEFAULT: &str = "10";
const POOL_LEVEL_MIN_DEFAULT: &str = "3";
const SLICE_MAX_DEFAULT: &str = "200";
const RETENTION_DEFAULT: &str = "400d";

/// A longer value is not shown: it may be a secret that was meant for another setting.
const SHOWN_CHARS_MAX: usize = 24;

/// Every setting that a program asks for.
pub const NAMES: [&str; 32] = [
    "AUDIT_INTERVAL",
    "DATABASE_URL",
    "HOLD_DURATION",
    "HOME",
    "INGRESS_ADDR",
    "JOBRUN_DATA",
    "LOG_FORMAT",
    "NUMBER_COOLING",
    "PATH",
    "PAYMENT_LINK_URL",
    "POOL_BUY_MAX",
    "POOL_LEVEL_MIN",
    "PUBLIC_BASE_URL",
    "RETENTION",
    "RUST_LOG",
    "SLICE_MAX",
    "STAND_IN_ADDR",
    "STOP_WITH_STDIN",
    "STRIPE_LIVEMODE",
    "STRIPE_WEBHOOK_SECRET",
    "SWEEP_INTERVAL",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_ADDRESS_SID",
    "TWILIO_API_BASE_URL",
    "TWILIO_AUTH_TOKEN",
    "TWILIO_BUNDLE_SID",
    "TWILIO_ONBOARDING_NUMBER",
    "TWILIO_POOL_NUMBERS",
    "TWILIO_SEGMENTS_PER_SECOND",
    "TWILIO_SHARED_KEYS",
    "TWILIO_SIGNATURE_ALGORITHMS",
    "TWILIO_SIGNATURE_MODE",
];

/// What is wrong with the settings, one sentence a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the settings need attention:")?;
        self.0.iter().try_for_each(|problem| write!(formatter, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// A setting is missing that only some of the commands need.
    #[must_use]
    pub fn not_set(name: &str, example: &str) -> Self {
        Self(vec![not_set(name, example)]).or_misspelt()
    }

    /// Adds the problems of `other`, each once.
    #[must_use]
    pub fn and(mut self, other: Option<Self>) -> Self {
        for problem in other.into_iter().flat_map(|it| it.0) {
            if !self.0.contains(&problem) {
                self.0.push(problem);
            }
        }
        self
    }

    /// A problem that shows only when settings are compared with something else.
    #[must_use]
    pub fn one(problem: impl Into<String>) -> Self {
        Self(vec![problem.into()])
    }

    /// Adds the settings whose names are nearly right: one of them may be what is missing.
    fn or_misspelt(mut self) -> Self {
        self.0.extend(near_misses());
        self
    }
}

fn not_set(name: &str, example: &str) -> String {
    format!("{name} is not set (example: {example})")
}

/// A secret, which no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// How lines are printed: `LOG_FORMAT` and `RUST_LOG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `LOG_FORMAT`: `plain`, `full` or `json`.
    pub format: LogFormat,
    /// `RUST_LOG`: which lines are printed. The journal always is.
    pub filter: String,
}

/// The shapes of a printed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The line and nothing else.
    Plain,
    /// Time, level and target before the line.
    Full,
    /// One JSON object.
    Json,
}

/// The account at Twilio.
#[derive(Clone, Debug)]
pub struct Twilio {
    /// `TWILIO_ACCOUNT_SID`.
    pub account_sid: String,
    /// `TWILIO_AUTH_TOKEN`: several during rotation; the first one is used for requests of ours.
    pub auth_tokens: Vec<Secret>,
    /// `TWILIO_API_BASE_URL`, without a slash at the end.
    pub api_base_url: String,
    /// `TWILIO_ONBOARDING_NUMBER`: the number that clients text.
    pub onboarding_number: E164,
    /// `PUBLIC_BASE_URL`, without a slash at the end: what Twilio was given, and signs.
    pub public_base_url: String,
    /// What webhooks may be signed with: by `TWILIO_SIGNATURE_ALGORITHMS`, every one of `TWILIO_AUTH_TOKEN`, of
    /// `TWILIO_SHARED_KEYS`, or of both.
    pub webhook_keys: Vec<Key>,
    /// `TWILIO_SIGNATURE_MODE`.
    pub signature_mode: SignatureMode,
}

impl Twilio {
    /// Returns whose account it is.
    #[must_use]
    pub fn account_kind(&self) -> AccountKind {
        AccountKind::of(&self.account_sid)
    }
}

/// The account of the stand-in. Twilio gives this SID to nobody.
pub const STAND_IN_ACCOUNT_SID: &str = "AC00000000000000000000000000000000";

/// Whose account it is that a program works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// One at Twilio.
    Real,
    /// The stand-in's, which is known by its SID.
    StandIn,
}

impl AccountKind {
    /// Every kind.
    const ALL: [Self; 2] = [Self::Real, Self::StandIn];

    /// Returns the kind of the account with this SID.
    #[must_use]
    pub fn of(account_sid: &str) -> Self {
        if account_sid == STAND_IN_ACCOUNT_SID { Self::StandIn } else { Self::Real }
    }

    /// Returns the name under which a database keeps it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::StandIn => "stand-in",
        }
    }

    /// Returns the kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What becomes of a webhook whose signature does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureMode {
    /// It is turned away.
    Enforce,
    /// It is let in and reported. Whoever knows the address can then pretend to be anyone: for the day on which signatures
    /// are set up, and no longer.
    Report,
}

/// The account at Stripe.
#[derive(Clone, Debug)]
pub struct Stripe {
    /// `STRIPE_WEBHOOK_SECRET`: several during rotation. None as long as no payment link is set.
    pub webhook_secrets: Vec<Secret>,
    /// `STRIPE_LIVEMODE`: whether real money is meant.
    pub livemode: bool,
}

/// The settings of `jobrun-ingress`.
#[derive(Clone, Debug)]
pub struct Ingress {
    /// `DATABASE_URL`.
    pub database_url: Secret,
    /// The account at Twilio.
    pub twilio: Twilio,
    /// The account at Stripe.
    pub stripe: Stripe,
    /// `INGRESS_ADDR`.
    pub addr: SocketAddr,
    /// `STOP_WITH_STDIN`: whether the end of standard input means to stop.
    pub stop_with_stdin: bool,
    /// How lines are printed.
    pub log: Log,
}

/// The settings of `jobrun-worker`.
#[derive(Clone, Debug)]
pub struct Worker {
    /// `DATABASE_URL`.
    pub database_url: Secret,
    /// The account at Twilio.
    pub twilio: Twilio,
    /// `PAYMENT_LINK_URL`, to which each client's reference is added; nothing, if no link has been set up yet.
    pub payment_link: Option<String>,
    /// `SWEEP_INTERVAL`.
    pub sweep_interval: Duration,
    /// `HOLD_DURATION`: how long a number is kept free for a waiting client before the place may pass on.
    pub hold: Duration,
    /// `NUMBER_COOLING`: how long a number that a client has left is kept from everybody else. Nothing, if it is not.
    pub cooling: Duration,
    /// `AUDIT_INTERVAL`: how often Twilio's list of texts that came in is compared with the inbox.
    pub audit_interval: Duration,
    /// `TWILIO_SEGMENTS_PER_SECOND`: how many segments each of our numbers sends a second at most.
    pub segments_per_second: u32,
    /// `POOL_LEVEL_MIN`: the operator is alerted when a region has fewer numbers that nobody has a claim on. 0 for never.
    pub pool_level_min: u32,
    /// `SLICE_MAX`: how many clients, texts or reports share a transaction at most.
    pub slice_max: u32,
    /// `RETENTION`: how long events and texts that are over are kept. Nothing, if they are kept for ever.
    pub retention: Duration,
    /// `STOP_WITH_STDIN`: whether the end of standard input means to stop.
    pub stop_with_stdin: bool,
    /// How lines are printed.
    pub log: Log,
}

/// The settings of `jobrun`, whose commands differ in what they need.
#[derive(Clone, Debug)]
pub struct Operator {
    /// `DATABASE_URL`, if it is set.
    pub database_url: Option<Secret>,
    /// `TWILIO_POOL_NUMBERS`: comma separated.
    pub pool_numbers: Vec<String>,
    /// `TWILIO_ONBOARDING_NUMBER`.
    pub onboarding_number: E164,
    /// `HOLD_DURATION`.
    pub hold: Duration,
    /// `NUMBER_COOLING`.
    pub cooling: Duration,
    /// Whose account is set in `TWILIO_ACCOUNT_SID`. None, if a stand-in is wanted.
    pub twilio_account: Option<AccountKind>,
    /// `PUBLIC_BASE_URL`, if it is set.
    pub public_base_url: Option<String>,
    /// `INGRESS_ADDR`, by default on this machine only.
    pub ingress_addr: SocketAddr,
    /// `STAND_IN_ADDR`: where the stand-in for Twilio and Stripe listens.
    pub stand_in_addr: SocketAddr,
    /// `JOBRUN_DATA`: the folder in which `jobrun up` keeps its data, if it is set.
    pub data_dir: Option<String>,
    /// `STOP_WITH_STDIN`: whether the end of standard input means to stop.
    pub stop_with_stdin: bool,
    /// `PATH`, where PostgreSQL's programs may be.
    pub path: String,
    /// `HOME`, below which data is kept, unless run as root.
    pub home: Option<String>,
    /// How lines are printed.
    pub log: Log,
}

/// The settings of `jobrun numbers check`, which looks both into the account and into the pool.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// `DATABASE_URL`.
    pub database_url: Secret,
    /// The account at Twilio.
    pub twilio: Twilio,
}

/// The settings of `jobrun pool buy`.
#[derive(Clone, Debug)]
pub struct Buying {
    /// `DATABASE_URL`.
    pub database_url: Secret,
    /// The account at Twilio.
    pub twilio: Twilio,
    /// `TWILIO_BUNDLE_SID`, if it is set: the regulatory bundle that numbers are bought under.
    pub bundle_sid: Option<String>,
    /// `TWILIO_ADDRESS_SID`, if it is set: the address that numbers are bought under.
    pub address_sid: Option<String>,
    /// `POOL_BUY_MAX`: how many numbers may be bought within 30 days.
    pub max: u32,
}

impl Ingress {
    /// Reads the settings of the ingress from the environment.
    ///
    /// # Errors
    /// Names every setting that is missing or makes no sense.
    pub fn from_env() -> Result<Self, Problems> {
        Self::read(&Environment).map_err(Problems::or_misspelt)
    }

    fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let stripe = reader.stripe();
        let stop_with_stdin = reader.stop_with_stdin();
        let settings =
            (reader.database_url(), reader.twilio(), reader.addr("INGRESS_ADDR", INGRESS_ADDR_DEFAULT), reader.log());
        match settings {
            (Some(database_url), Some(twilio), Some(addr), Some(log)) if reader.problems.is_empty() => {
                Ok(Self { database_url, twilio, stripe, addr, stop_with_stdin, log })
            }
            _ => Err(Problems(reader.problems)),
        }
    }
}

impl Worker {
    /// Reads the settings of the worker from the environment.
    ///
    /// # Errors
    /// Names every setting that is missing or makes no sense.
    pub fn from_env() -> Result<Self, Problems> {
        Self::read(&Environment).map_err(Problems::or_misspelt)
    }

    fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let payment_link = reader.payment_link();
        let sweep_interval = reader.interval("SWEEP_INTERVAL", SWEEP_INTERVAL_DEFAULT);
        let audit_interval = reader.interval("AUDIT_INTERVAL", AUDIT_INTERVAL_DEFAULT);
        let (hold, cooling, segments_per_second) = (reader.hold(), reader.cooling(), reader.segments_per_second());
        let pool_level_min = reader.pool_level_min();
        let (slice_max, retention) = (reader.slice_max(), reader.retention());
        let stop_with_stdin = reader.stop_with_stdin();
        let settings = (reader.database_url(), reader.twilio(), reader.log());
        let intervals = (sweep_interval, audit_interval, hold, cooling, retention);
        match (settings, intervals, segments_per_second, pool_level_min, slice_max) {
            (
                (Some(database_url), Some(twilio), Some(log)),
                (Some(sweep_interval), Some(audit_interval), Some(hold), Some(cooling), Some(retention)),
                Some(segments_per_second),
                Some(pool_level_min),
                Some(slice_max),
            ) if reader.problems.is_empty() => Ok(Self {
                database_url,
                twilio,
                payment_link,
                sweep_interval,
                hold,
                cooling,
                audit_interval,
                segments_per_second,
                pool_level_min,
                slice_max,
                retention,
                stop_with_stdin,
                log,
            }),
            _ => Err(Problems(reader.problems)),
        }
    }
}

impl Operator {
    /// Reads the settings of the operator's command from the environment.
    ///
    /// # Errors
    /// Names every setting that makes no sense.
    pub fn from_env() -> Result<Self, Problems> {
        Self::read(&Environment).map_err(Problems::or_misspelt)
    }

    fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let database_url = reader.database_url_if_set();
        let public_base_url = reader.get("PUBLIC_BASE_URL").and_then(|_| reader.base_url("PUBLIC_BASE_URL", None));
        let pool_numbers = reader.list("TWILIO_POOL_NUMBERS");
        let paces = (reader.hold(), reader.cooling());
        let addrs =
            (reader.addr("INGRESS_ADDR", UP_INGRESS_ADDR_DEFAULT), reader.addr("STAND_IN_ADDR", STAND_IN_ADDR_DEFAULT));
        let stop_with_stdin = reader.stop_with_stdin();
        reader.check_settings_of_other_programs();
        match (reader.onboarding_number(), reader.log(), addrs, paces) {
            (
                Some(onboarding_number),
                Some(log),
                (Some(ingress_addr), Some(stand_in_addr)),
                (Some(hold), Some(cooling)),
            ) if reader.problems.is_empty() => Ok(Self {
                database_url,
                pool_numbers,
                onboarding_number,
                hold,
                cooling,
                twilio_account: reader.get("TWILIO_ACCOUNT_SID").map(|sid| AccountKind::of(&sid)),
                public_base_url,
                ingress_addr,
                stand_in_addr,
                data_dir: reader.get("JOBRUN_DATA"),
                stop_with_stdin,
                path: reader.get("PATH").unwrap_or_default(),
                home: reader.get("HOME"),
                log,
            }),
            _ => Err(Problems(reader.problems)),
        }
    }
}

impl Numbers {
    /// Reads the settings of `jobrun numbers check` from the environment.
    ///
    /// # Errors
    /// Names every setting that is missing or makes no sense.
    pub fn from_env() -> Result<Self, Problems> {
        Self::read(&Environment).map_err(Problems::or_misspelt)
    }

    fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        match (reader.database_url(), reader.twilio()) {
            (Some(database_url), Some(twilio)) if reader.problems.is_empty() => Ok(Self { database_url, twilio }),
            _ => Err(Problems(reader.problems)),
        }
    }
}

impl Buying {
    /// Reads the settings of `jobrun pool buy` from the environment.
    ///
    /// # Errors
    /// Names every setting that is missing or makes no sense.
    pub fn from_env() -> Result<Self, Problems> {
        Self::read(&Environment).map_err(Problems::or_misspelt)
    }

    fn read(source: &dyn Source) -> Result<Self, Problems> {
        let mut reader = Reader::new(source);
        let bundle_sid = reader.sid_if_set("TWILIO_BUNDLE_SID", "BU");
        let address_sid = reader.sid_if_set("TWILIO_ADDRESS_SID", "AD");
        let max = reader.buy_max();
        match (reader.database_url(), reader.twilio(), max) {
            (Some(database_url), Some(twilio), Some(max)) if reader.problems.is_empty() => {
                Ok(Self { database_url, twilio, bundle_sid, address_sid, max })
            }
            _ => Err(Problems(reader.problems)),
        }
    }
}

/// Where settings come from: the environment, and in tests a list.
trait Source {
    fn get(&self, name: &str) -> Option<String>;
}

struct Environment;

impl Source for Environment {
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Says of each environment variable whose name is nearly that of a setting which one may be meant. Values are not shown.
#[must_use]
pub fn near_misses() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    spelling::near_misses(names, &NAMES)
}

struct Reader<'a> {
    source: &'a dyn Source,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a dyn Source) -> Self {
        Self { source, problems: Vec::new() }
    }

    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// A setting; set to nothing counts as not set.
    fn get(&self, name: &str) -> Option<String> {
        self.source.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn or(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or_else(|| default.to_owned())
    }

    fn required(&mut self, name: &str, example: &str) -> Option<String> {
        let value = self.get(name);
        if value.is_none() {
            self.problem(not_set(name, example));
        }
        value
    }

    /// What a setting holds is not what it should be. For settings that hold no secret.
    fn unreadable(&mut self, name: &str, expected: &str) {
        let value = self.get(name).filter(|value| value.chars().count() <= SHOWN_CHARS_MAX);
        let shown = value.map(|value| format!(": {value:?}")).unwrap_or_default();
        self.problem(format!("{name} is {expected}{shown}"));
    }

    fn parsed<T: FromStr>(&mut self, name: &str, default: &str, expected: &str) -> Option<T> {
        let value = self.or(name, default).parse().ok();
        if value.is_none() {
            self.unreadable(name, &format!("not {expected}"));
        }
        value
    }

    fn list(&self, name: &str) -> Vec<String> {
        let values = self.get(name).unwrap_or_default();
        values.split(',').map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect()
    }

    fn database_url(&mut self) -> Option<Secret> {
        self.required("DATABASE_URL", "postgres://jobrun:password@localhost/jobrun")?;
        self.database_url_if_set()
    }

    fn database_url_if_set(&mut self) -> Option<Secret> {
        let url = self.get("DATABASE_URL")?;
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            self.problem("DATABASE_URL does not begin with postgres://");
        }
        Some(Secret(url))
    }

    /// One of Twilio's names: two letters that say of what, and 32 hexadecimal digits.
    fn sid_if_set(&mut self, name: &str, prefix: &str) -> Option<String> {
        let sid = self.get(name)?;
        let digits = sid.strip_prefix(prefix).unwrap_or_default();
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.problem(format!("{name} is not {prefix} and 32 hexadecimal digits"));
        }
        Some(sid)
    }

    /// A command may do without these, but an operator who has set one wrongly is told by the first command that sees it.
    fn check_settings_of_other_programs(&mut self) {
        self.account_sid_if_set();
        self.signature_algorithms();
        self.signature_mode();
        self.base_url("TWILIO_API_BASE_URL", Some(TWILIO_API_BASE_URL_DEFAULT));
        self.segments_per_second();
        self.sid_if_set("TWILIO_BUNDLE_SID", "BU");
        self.sid_if_set("TWILIO_ADDRESS_SID", "AD");
        self.buy_max();
        self.payment_link();
        self.webhook_secrets();
        self.livemode_if_set();
        self.interval("SWEEP_INTERVAL", SWEEP_INTERVAL_DEFAULT);
        self.interval("AUDIT_INTERVAL", AUDIT_INTERVAL_DEFAULT);
        self.pool_level_min();
        self.slice_max();
        self.retention();
    }

    fn account_sid_if_set(&mut self) -> Option<String> {
        let account_sid = self.get("TWILIO_ACCOUNT_SID")?;
        if !account_sid.starts_with("AC") {
            self.problem("TWILIO_ACCOUNT_SID does not begin with AC: it is the account's SID, not an API key's");
        }
        Some(account_sid)
    }

    fn twilio(&mut self) -> Option<Twilio> {
        self.required("TWILIO_ACCOUNT_SID", "ACxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        let account_sid = self.account_sid_if_set();
        let tokens = self.list("TWILIO_AUTH_TOKEN");
        if tokens.is_empty() {
            self.problem("TWILIO_AUTH_TOKEN is not set (the account's primary token; comma separated during rotation)");
        }
        let api_base_url = self.base_url("TWILIO_API_BASE_URL", Some(TWILIO_API_BASE_URL_DEFAULT));
        let public_base_url = self.base_url("PUBLIC_BASE_URL", None);
        let onboarding_number = self.onboarding_number();
        let auth_tokens: Vec<Secret> = tokens.into_iter().map(Secret).collect();
        let webhook_keys = self.webhook_keys(&auth_tokens);
        let signature_mode = self.signature_mode();
        Some(Twilio {
            account_sid: account_sid?,
            auth_tokens,
            api_base_url: api_base_url?,
            onboarding_number: onboarding_number?,
            public_base_url: public_base_url?,
            webhook_keys,
            signature_mode: signature_mode?,
        })
    }

    /// Which signatures are accepted is said here and nowhere else. Half of a changeover is a mistake: a shared key that is
    /// never asked for, or an algorithm without a secret.
    fn webhook_keys(&mut self, auth_tokens: &[Secret]) -> Vec<Key> {
        let names = self.signature_algorithms();
        let is_listed = |algorithm: &str| names.iter().any(|name| name == algorithm);
        let shared_keys: Vec<Secret> = self.list("TWILIO_SHARED_KEYS").into_iter().map(Secret).collect();
        match (is_listed("sha256"), shared_keys.is_empty()) {
            (true, true) => self.problem("TWILIO_SHARED_KEYS is not set, and TWILIO_SIGNATURE_ALGORITHMS lists sha256"),
            (false, false) => {
                self.problem("TWILIO_SHARED_KEYS is set, and TWILIO_SIGNATURE_ALGORITHMS does not list sha256")
            }
            (true, false) | (false, true) => {}
        }
        let tokens = if is_listed("sha1") { auth_tokens } else { &[] };
        let tokens = tokens.iter().map(|token| Key { algorithm: Algorithm::HmacSha1, secret: token.clone() });
        tokens.chain(shared_keys.into_iter().map(|secret| Key { algorithm: Algorithm::HmacSha256, secret })).collect()
    }

    fn signature_algorithms(&mut self) -> Vec<String> {
        let names = self.or("TWILIO_SIGNATURE_ALGORITHMS", SIGNATURE_ALGORITHMS_DEFAULT);
        let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(|name| !["sha1", "sha256"].contains(&name.as_str())) {
            self.problem("TWILIO_SIGNATURE_ALGORITHMS is not a list of sha1 and sha256, such as sha1,sha256");
        }
        names
    }

    fn signature_mode(&mut self) -> Option<SignatureMode> {
        match self.or("TWILIO_SIGNATURE_MODE", SIGNATURE_MODE_DEFAULT).as_str() {
            "enforce" => Some(SignatureMode::Enforce),
            "report" => Some(SignatureMode::Report),
            _ => {
                self.unreadable("TWILIO_SIGNATURE_MODE", "neither enforce nor report");
                None
            }
        }
    }

    fn onboarding_number(&mut self) -> Option<E164> {
        let number = E164::parse(&self.or("TWILIO_ONBOARDING_NUMBER", ONBOARDING_NUMBER_DEFAULT)).ok();
        if number.is_none() {
            self.problem("TWILIO_ONBOARDING_NUMBER is not in E.164 form, such as +447476955179");
        }
        number
    }

    /// Where clients pay. Each client's reference is added to its query.
    fn payment_link(&mut self) -> Option<String> {
        let link = self.get("PAYMENT_LINK_URL")?;
        let here = ["http://127.0.0.1:", "http://localhost:"].iter().any(|here| link.starts_with(here));
        if !here && !link.starts_with("https://") {
            self.problem("PAYMENT_LINK_URL is not an https:// address");
        }
        if link.contains('#') || link.contains(char::is_whitespace) {
            self.problem("PAYMENT_LINK_URL has a # or white space in it");
        }
        if link.chars().count() > 300 {
            self.problem("PAYMENT_LINK_URL is longer than 300 characters");
        }
        Some(link)
    }

    fn webhook_secrets(&mut self) -> Vec<Secret> {
        let webhook_secrets: Vec<Secret> = self.list("STRIPE_WEBHOOK_SECRET").into_iter().map(Secret).collect();
        if webhook_secrets.iter().any(|secret| !secret.expose().starts_with("whsec_")) {
            self.problem(
                "STRIPE_WEBHOOK_SECRET does not begin with whsec_: it is the endpoint's secret, not an API key",
            );
        }
        webhook_secrets
    }

    fn livemode_if_set(&mut self) -> Option<bool> {
        match self.get("STRIPE_LIVEMODE")?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.unreadable("STRIPE_LIVEMODE", "neither true nor false");
                None
            }
        }
    }

    fn stripe(&mut self) -> Stripe {
        let webhook_secrets = self.webhook_secrets();
        let link = self.payment_link();
        if link.is_some() && webhook_secrets.is_empty() {
            self.problem(
                "STRIPE_WEBHOOK_SECRET is not set, and PAYMENT_LINK_URL is: nobody would hear of the payments \
                 (example: whsec_…, comma separated during rotation)",
            );
        }
        // Without a link, clients are sent a placeholder for a test link.
        let is_test = link.as_deref().is_none_or(is_test_link);
        let livemode = self.livemode_if_set().unwrap_or(!is_test);
        if livemode && link.is_some() && is_test {
            self.problem("STRIPE_LIVEMODE is true, and PAYMENT_LINK_URL is a test link");
        }
        Stripe { webhook_secrets, livemode }
    }

    /// A web address that paths are appended to. Twilio's signature covers it to the letter, so nothing in it is rewritten
    /// but a slash at the end.
    fn base_url(&mut self, name: &str, default: Option<&str>) -> Option<String> {
        let value = match default {
            Some(default) => self.or(name, default),
            None => self.required(name, "https://onboarding.example.com")?,
        };
        let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
        match rest {
            None => self.problem(format!("{name} does not begin with https:// or http://")),
            Some(rest) if rest.contains(['@', '?', '#']) || rest.contains(char::is_whitespace) => {
                self.problem(format!("{name} has more in it than a host, a port and a path"));
            }
            Some("") => self.problem(format!("{name} names no host")),
            Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('_')) => {
                self.problem(format!("{name} has an underscore in its host, which Twilio does not take"));
            }
            Some(_) => {}
        }
        Some(value.trim_end_matches('/').to_owned())
    }

    fn addr(&mut self, name: &str, default: &str) -> Option<SocketAddr> {
        self.parsed(name, default, &format!("an address with a port, such as {default}"))
    }

    fn stop_with_stdin(&mut self) -> bool {
        self.parsed("STOP_WITH_STDIN", "false", "true or false").unwrap_or_default()
    }

    fn interval(&mut self, name: &str, default: &str) -> Option<Duration> {
        let interval = humantime::parse_duration(&self.or(name, default)).ok();
        let interval = interval.filter(|it| it.as_secs() >= 1 && it.subsec_nanos() == 0);
        if interval.is_none() {
            self.unreadable(name, "not a duration in whole seconds, such as 60s or 5m");
        }
        interval
    }

    fn segments_per_second(&mut self) -> Option<u32> {
        let expected = "a number of segments from 1 to 1000000, such as 10";
        let pace = self.parsed("TWILIO_SEGMENTS_PER_SECOND", SEGMENTS_PER_SECOND_DEFAULT, expected)?;
        if !(1..=1_000_000).contains(&pace) {
            self.unreadable("TWILIO_SEGMENTS_PER_SECOND", &format!("not {expected}"));
        }
        Some(pace)
    }

    fn pool_level_min(&mut self) -> Option<u32> {
        self.parsed("POOL_LEVEL_MIN", POOL_LEVEL_MIN_DEFAULT, "a number of numbers, such as 3")
    }

    fn buy_max(&mut self) -> Option<u32> {
        self.parsed("POOL_BUY_MAX", BUY_MAX_DEFAULT, "a number of phone numbers, such as 10")
    }

    fn slice_max(&mut self) -> Option<u32> {
        let expected = "a number of rows from 1 to 1000, such as 200";
        let rows = self.parsed("SLICE_MAX", SLICE_MAX_DEFAULT, expected)?;
        if !(1..=1_000).contains(&rows) {
            self.unreadable("SLICE_MAX", &format!("not {expected}"));
        }
        Some(rows)
    }

    fn hold(&mut self) -> Option<Duration> {
        let hold = humantime::parse_duration(&self.or("HOLD_DURATION", HOLD_DURATION_DEFAULT)).ok();
        let hold = hold.filter(|it| it.as_secs() >= 1 && it.as_secs() <= 366 * 24 * 60 * 60);
        if hold.is_none() {
            self.unreadable("HOLD_DURATION", "not a duration of up to a year, such as 48h");
        }
        hold
    }

    fn cooling(&mut self) -> Option<Duration> {
        let cooling = humantime::parse_duration(&self.or("NUMBER_COOLING", NUMBER_COOLING_DEFAULT)).ok();
        let cooling = cooling.filter(|it| it.as_secs() <= 5 * 366 * 24 * 60 * 60);
        if cooling.is_none() {
            self.unreadable("NUMBER_COOLING", "not a duration of up to five years, such as 30d or 0s");
        }
        cooling
    }

    /// What is younger than a month may still be reported on, compared with Twilio's list, or told once more.
    fn retention(&mut self) -> Option<Duration> {
        const DAY: u64 = 24 * 60 * 60;
        let retention = humantime::parse_duration(&self.or("RETENTION", RETENTION_DEFAULT)).ok();
        let retention = retention.filter(|it| it.is_zero() || (30 * DAY..=36_600 * DAY).contains(&it.as_secs()));
        if retention.is_none() {
            let expected = "neither 0s, which keeps everything, nor a duration of 30 days or more, such as 400d";
            self.unreadable("RETENTION", expected);
        }
        retention
    }

    fn log(&mut self) -> Option<Log> {
        let format = match self.or("LOG_FORMAT", "plain").as_str() {
            "plain" => Some(LogFormat::Plain),
            "full" => Some(LogFormat::Full),
            "json" => Some(LogFormat::Json),
            _ => {
                self.unreadable("LOG_FORMAT", "none of plain, full and json");
                None
            }
        };
        let filter = self.or("RUST_LOG", "info");
        if filter.parse::<tracing_subscriber::EnvFilter>().is_err() {
            self.unreadable("RUST_LOG", "not a filter, such as info or jobrun_worker=debug");
        }
        format.map(|format| Log { format, filter })
    }
}

/// Stripe's own test links end in `/test_…`.
fn is_test_link(link: &str) -> bool {
    let path = link.split('?').next().unwrap_or_default();
    path.rsplit('/').next().is_some_and(|last| last.starts_with("test_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List<'a>(&'a [(&'a str, &'a str)]);

    impl Source for List<'_> {
        fn get(&self, name: &str) -> Option<String> {
            self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        }
    }

    const GOOD: [(&str, &str); 4] = [
        ("DATABASE_URL", "postgres://jobrun@localhost/jobrun"),
        ("TWILIO_ACCOUNT_SID", "AC1"),
        ("TWILIO_AUTH_TOKEN", "old, new"),
        ("PUBLIC_BASE_URL", "https://Example.com/jobrun/"),
    ];

    #[test]
    fn what_is_not_set_has_the_documented_default() {
        let worker = Worker::read(&List(&GOOD)).unwrap();
        assert_eq!(worker.payment_link, None);
        assert_eq!(worker.sweep_interval, Duration::from_secs(60));
        assert_eq!(worker.cooling, Duration::from_secs(30 * 24 * 60 * 60));
        assert_eq!((worker.pool_level_min, worker.slice_max), (3, 200));
        assert_eq!(worker.retention, Duration::from_secs(400 * 24 * 60 * 60));
        assert_eq!(worker.twilio.onboarding_number.as_str(), "+447476955179");
        assert_eq!(worker.twilio.api_base_url, "https://api.twilio.com");
        assert_eq!(worker.twilio.public_base_url, "https://Example.com/jobrun");
        assert_eq!(worker.twilio.auth_tokens.len(), 2);
        assert_eq!(worker.twilio.signature_mode, SignatureMode::Enforce);
        assert_eq!(worker.log, Log { format: LogFormat::Plain, filter: "info".to_owned() });
        assert_eq!(Ingress::read(&List(&GOOD)).unwrap().addr.to_string(), "0.0.0.0:8080");
    }

    #[test]
    fn nothing_is_removed_that_may_still_be_asked_about() {
        let with = |retention| {
            Worker::read(&List(&[&GOOD[..], &[("RETENTION", retention)]].concat())).map(|it| it.retention.as_secs())
        };
        assert_eq!((with("0s"), with("30d")), (Ok(0), Ok(30 * 24 * 60 * 60)));
        for wrong in ["29d", "1s", "year", "-1d", "200years"] {
            assert!(with(wrong).unwrap_err().to_string().contains("RETENTION"), "{wrong}");
        }
    }

    #[test]
    fn everything_wrong_is_named_at_once_and_no_secret_is_repeated() {
        let bad = [
            ("TWILIO_ACCOUNT_SID", "SKhush"),
            ("TWILIO_ONBOARDING_NUMBER", "0747"),
            ("PUBLIC_BASE_URL", "https://user:hush@example.com"),
            ("INGRESS_ADDR", "8080"),
            ("LOG_FORMAT", "xml"),
        ];
        let underscore = [("PUBLIC_BASE_URL", "https://my_host.example.com/a_b")];
        assert!(Ingress::read(&List(&underscore)).unwrap_err().to_string().contains("underscore"));
        let problems = Ingress::read(&List(&bad)).unwrap_err().to_string();
        for name in [
            "DATABASE_URL",
            "TWILIO_ACCOUNT_SID",
            "TWILIO_AUTH_TOKEN",
            "TWILIO_ONBOARDING_NUMBER",
            "PUBLIC_BASE_URL",
            "INGRESS_ADDR",
            "LOG_FORMAT",
        ] {
            assert!(problems.contains(name), "{name} is missing in: {problems}");
        }
        assert!(!problems.contains("hush"), "{problems}");
        let bad = [("SWEEP_INTERVAL", "soon"), ("PAYMENT_LINK_URL", "buy"), ("POOL_LEVEL_MIN", "-1")];
        let problems = Worker::read(&List(&bad)).unwrap_err().to_string();
        for name in ["SWEEP_INTERVAL", "PAYMENT_LINK_URL", "POOL_LEVEL_MIN"] {
            assert!(problems.contains(name), "{name} is missing in: {problems}");
        }
    }

    /// Nobody looks for a mistake in a setting that a program passes over.
    #[test]
    fn jobrun_refuses_a_setting_of_the_other_programs_that_makes_no_sense() {
        for (name, value) in [
            ("SWEEP_INTERVAL", "banana"),
            ("AUDIT_INTERVAL", "5"),
            ("TWILIO_SEGMENTS_PER_SECOND", "0"),
            ("POOL_LEVEL_MIN", "-1"),
            ("POOL_BUY_MAX", "ten"),
            ("SLICE_MAX", "0"),
            ("RETENTION", "1d"),
            ("STRIPE_LIVEMODE", "yes"),
            ("TWILIO_SIGNATURE_MODE", "off"),
        ] {
            let problems = Operator::read(&List(&[(name, value)])).unwrap_err().to_string();
            assert!(problems.contains(&format!("\n  {name} is n")), "{problems}");
            assert!(problems.ends_with(&format!(": {value:?}")), "{problems}");
        }
        for (name, value) in [
            ("TWILIO_ACCOUNT_SID", "SKhush"),
            ("TWILIO_API_BASE_URL", "hush"),
            ("TWILIO_SIGNATURE_ALGORITHMS", "hush"),
            ("TWILIO_BUNDLE_SID", "hush"),
            ("TWILIO_ADDRESS_SID", "hush"),
            ("PAYMENT_LINK_URL", "hush"),
            ("STRIPE_WEBHOOK_SECRET", "hush"),
            ("SWEEP_INTERVAL", "hush0123456789abcdef01234"),
        ] {
            let problems = Operator::read(&List(&[(name, value)])).unwrap_err().to_string();
            assert!(problems.contains(&format!("\n  {name} ")) && !problems.contains("hush"), "{problems}");
        }
    }

    #[test]
    fn problems_are_joined_and_named_once() {
        let joined = Problems::one("a").and(Some(Problems(vec!["b".to_owned(), "a".to_owned()]))).and(None);
        assert_eq!(joined, Problems(vec!["a".to_owned(), "b".to_owned()]));
    }

    fn with<'a>(settings: &[(&'a str, &'a str)]) -> Result<Ingress, Problems> {
        Ingress::read(&List(&[&GOOD, settings].concat()))
    }

    #[test]
    fn which_signatures_are_accepted_is_chosen_by_the_settings() {
        let keys = |settings: &[(&str, &str)]| -> Vec<(Algorithm, String)> {
            let keys = with(settings).unwrap().twilio.webhook_keys.into_iter();
            keys.map(|key| (key.algorithm, key.secret.expose().to_owned())).collect()
        };
        let tokens = [(Algorithm::HmacSha1, "old".to_owned()), (Algorithm::HmacSha1, "new".to_owned())];
        let shared = [(Algorithm::HmacSha256, "one".to_owned()), (Algorithm::HmacSha256, "two".to_owned())];
        let shared_keys = ("TWILIO_SHARED_KEYS", "one, two");
        assert_eq!(keys(&[]), tokens);
        assert_eq!(keys(&[("TWILIO_SIGNATURE_ALGORITHMS", "sha256"), shared_keys]), shared);
        assert_eq!(keys(&[("TWILIO_SIGNATURE_ALGORITHMS", "sha256, sha1"), shared_keys]), [tokens, shared].concat());
        let report = with(&[("TWILIO_SIGNATURE_MODE", "report")]).unwrap();
        assert_eq!(report.twilio.signature_mode, SignatureMode::Report);
    }

    #[test]
    fn settings_of_signatures_that_contradict_each_other_are_named() {
        let not_set = "TWILIO_SHARED_KEYS is not set, and";
        let not_listed = "TWILIO_SHARED_KEYS is set, and";
        let no_list = "TWILIO_SIGNATURE_ALGORITHMS is not a list";
        let keys = ("TWILIO_SHARED_KEYS", "hush");
        for (settings, expected) in [
            (&[("TWILIO_SIGNATURE_ALGORITHMS", "sha256")][..], not_set),
            (&[("TWILIO_SIGNATURE_ALGORITHMS", "sha1,sha256"), ("TWILIO_SHARED_KEYS", " , ")], not_set),
            (&[keys], not_listed),
            (&[("TWILIO_SIGNATURE_ALGORITHMS", "sha1"), keys], not_listed),
            (&[("TWILIO_SIGNATURE_ALGORITHMS", "sha256,md5"), keys], no_list),
            (&[("TWILIO_SIGNATURE_ALGORITHMS", "SHA256"), keys], no_list),
            (&[("TWILIO_SIGNATURE_ALGORITHMS", ",")], no_list),
            (&[("TWILIO_SIGNATURE_MODE", "off")], "TWILIO_SIGNATURE_MODE is neither"),
        ] {
            let problems = with(settings).unwrap_err().to_string();
            assert!(problems.contains(expected) && !problems.contains("hush"), "{settings:?}: {problems}");
        }
    }

    #[test]
    fn payments_are_real_unless_the_link_is_a_test_one() {
        let stripe = |settings: &[(&str, &str)]| with(settings).map(|it| it.stripe);
        let livemode = |settings: &[(&str, &str)]| stripe(settings).unwrap().livemode;
        let secret = ("STRIPE_WEBHOOK_SECRET", "whsec_old, whsec_new");
        let live = ("PAYMENT_LINK_URL", "https://buy.stripe.com/3cs8xy?locale=en");
        let test = ("PAYMENT_LINK_URL", "https://buy.stripe.com/test_3cs8xy");
        assert!(!livemode(&[]), "the placeholder is a test link");
        assert!(livemode(&[secret, live]) && !livemode(&[secret, test]));
        assert!(!livemode(&[secret, live, ("STRIPE_LIVEMODE", "false")]));
        assert_eq!(stripe(&[secret]).unwrap().webhook_secrets.len(), 2);
        let here = [("PAYMENT_LINK_URL", "http://127.0.0.1:8090/pay"), secret];
        assert_eq!(Worker::read(&List(&[&GOOD[..], &here].concat())).unwrap().payment_link.as_deref(), Some(here[0].1));
        for (settings, expected) in [
            (&[live][..], "STRIPE_WEBHOOK_SECRET is not set, and"),
            (&[("STRIPE_WEBHOOK_SECRET", "sk_hush")], "STRIPE_WEBHOOK_SECRET does not begin with whsec_"),
            (&[secret, test, ("STRIPE_LIVEMODE", "true")], "PAYMENT_LINK_URL is a test link"),
            (&[("STRIPE_LIVEMODE", "yes")], "STRIPE_LIVEMODE is neither"),
            (&[secret, ("PAYMENT_LINK_URL", "http://example.com/pay")], "PAYMENT_LINK_URL is not an https://"),
            (&[secret, ("PAYMENT_LINK_URL", "https://example.com/a b")], "PAYMENT_LINK_URL has a #"),
        ] {
            let problems = with(settings).unwrap_err().to_string();
            assert!(problems.contains(expected) && !problems.contains("hush"), "{settings:?}: {problems}");
        }
    }

    #[test]
    fn numbers_cool_down_for_nothing_up_to_five_years() {
        let cooling = |value| Operator::read(&List(&[("NUMBER_COOLING", value)])).map(|it| it.cooling.as_secs());
        assert_eq!(cooling("0s"), Ok(0));
        assert_eq!(cooling("90 days"), Ok(90 * 24 * 60 * 60));
        for senseless in ["30", "-1d", "6y", "a while"] {
            assert!(cooling(senseless).unwrap_err().to_string().contains("NUMBER_COOLING"), "{senseless}");
        }
    }

    #[test]
    fn what_numbers_are_bought_under_has_a_shape() {
        let read = |settings: &[(&str, &str)]| Buying::read(&List(&[&GOOD, settings].concat()));
        let plain = read(&[]).unwrap();
        assert_eq!((plain.bundle_sid, plain.address_sid, plain.max), (None, None, 10));
        let (bundle, address) = ("BU0123456789abcdef0123456789ABCDEF", "AD0123456789abcdef0123456789ABCDEF");
        let set = [("TWILIO_BUNDLE_SID", bundle), ("TWILIO_ADDRESS_SID", address), ("POOL_BUY_MAX", "0")];
        let set = read(&set).unwrap();
        assert_eq!((set.bundle_sid.as_deref(), set.address_sid.as_deref(), set.max), (Some(bundle), Some(address), 0));
        let swapped = [("TWILIO_BUNDLE_SID", address), ("TWILIO_ADDRESS_SID", "ADhush"), ("POOL_BUY_MAX", "-1")];
        let problems = read(&swapped).unwrap_err().to_string();
        for (name, _) in swapped {
            assert!(problems.contains(&format!("{name} is not ")), "{name} is missing in: {problems}");
        }
        assert!(!problems.contains("hush") && !problems.contains(address), "{problems}");
    }

    /// Remembers which settings are asked for.
    struct Recorded(std::cell::RefCell<std::collections::BTreeSet<String>>);

    impl Source for Recorded {
        fn get(&self, name: &str) -> Option<String> {
            self.0.borrow_mut().insert(name.to_owned());
            List(&GOOD).get(name)
        }
    }

    #[test]
    fn the_table_of_names_is_what_the_programs_ask_for() {
        let recorded = Recorded(std::cell::RefCell::default());
        Ingress::read(&recorded).unwrap();
        Worker::read(&recorded).unwrap();
        Operator::read(&recorded).unwrap();
        Numbers::read(&recorded).unwrap();
        Buying::read(&recorded).unwrap();
        assert_eq!(recorded.0.into_inner().into_iter().collect::<Vec<_>>(), NAMES);
    }

    #[test]
    fn jobrun_up_listens_on_this_machine_only_unless_told_otherwise() {
        let up = Operator::read(&List(&[])).unwrap();
        assert_eq!(
            (up.ingress_addr.to_string(), up.stand_in_addr.to_string()),
            ("127.0.0.1:8080".to_owned(), "127.0.0.1:8090".to_owned())
        );
        assert_eq!((up.data_dir, up.twilio_account, up.stop_with_stdin), (None, None, false));
        let told = Operator::read(&List(&[("INGRESS_ADDR", "0.0.0.0:80"), ("STOP_WITH_STDIN", "true")])).unwrap();
        assert_eq!((told.ingress_addr.to_string(), told.stop_with_stdin), ("0.0.0.0:80".to_owned(), true));
        let bad = [("STAND_IN_ADDR", "8090"), ("STOP_WITH_STDIN", "maybe")];
        let problems = Operator::read(&List(&bad)).unwrap_err().to_string();
        assert!(bad.iter().all(|(name, _)| problems.contains(&format!("{name} is not "))), "{problems}");
    }

    #[test]
    fn an_account_is_the_stand_in_s_by_its_sid_alone() {
        let settings = |sid| [&[("TWILIO_ACCOUNT_SID", sid)], &GOOD[..]].concat();
        let kind = |sid| Ingress::read(&List(&settings(sid))).unwrap().twilio.account_kind();
        assert_eq!(kind(STAND_IN_ACCOUNT_SID), AccountKind::StandIn);
        assert_eq!(kind("AC00000000000000000000000000000001"), AccountKind::Real);
        let up = |sid| Operator::read(&List(&[("TWILIO_ACCOUNT_SID", sid)])).unwrap().twilio_account;
        assert_eq!(up(STAND_IN_ACCOUNT_SID), Some(AccountKind::StandIn));
        for kind in AccountKind::ALL {
            assert_eq!(AccountKind::named(kind.name()), Some(kind));
        }
    }

    #[test]
    fn secrets_do_not_show() {
        assert!(!format!("{:?}", Worker::read(&List(&GOOD)).unwrap()).contains("localhost/jobrun"));
    }
}
