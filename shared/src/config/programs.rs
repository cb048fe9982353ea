//! The settings of each program.

use std::net::SocketAddr;
use std::time::Duration;

use jobrun_onboarding::forwarding_checks;
use jobrun_onboarding::reminders::Schedule;
use jobrun_onboarding::{E164, Switches, Wordings};
use secrecy::SecretString;

use super::alert_webhook::AlertWebhook;
use super::problems::Problems;
use super::reader::{Environment, OPS_ADDR_EXAMPLE, Reader, Source};
use super::stripe::{Stripe, StripeAudit};
use super::traces::Traces;
use super::twilio::{AccountKind, Twilio};
use super::{Log, LogFormat};

/// The fewest characters of `ERASURE_KEY`.
const ERASURE_KEY_MIN: usize = 32;

/// The settings of `jobrun-ingress`.
#[derive(Clone, Debug)]
pub struct Ingress {
    /// `DATABASE_URL`.
    pub database_url: SecretString,
    /// The account at Twilio.
    pub twilio: Twilio,
    /// The account at Stripe.
    pub stripe: Stripe,
    /// `VOICEMAIL`: whether callers of live numbers are asked to leave a message.
    pub voicemail: bool,
    /// `INGRESS_ADDR`.
    pub addr: SocketAddr,
    /// `OPS_ADDR`, if it is set.
    pub ops_addr: Option<SocketAddr>,
    /// Where spans are sent, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
    pub traces: Option<Traces>,
    /// `STOP_WITH_STDIN`: whether the end of standard input means to stop.
    pub stop_with_stdin: bool,
    /// How lines are printed.
    pub log: Log,
}

/// The settings of `jobrun-worker`.
#[derive(Clone, Debug)]
pub struct Worker {
    /// `DATABASE_URL`.
    pub database_url: SecretString,
    /// The account at Twilio.
    pub twilio: Twilio,
    /// `VOICEMAIL`: whether recordings whose reports were lost are looked for.
    pub voicemail: bool,
    /// `PAYMENT_LINK_URL`, to which each client's reference is added, if it is set.
    pub payment_link: Option<String>,
    /// `PAYMENT_PORTAL_URL`: where clients cancel their subscriptions, if it is set.
    pub payment_portal: Option<String>,
    /// `CASES` and `PHONE_CHANGE`: what the conversation does beside the sign-up.
    pub switches: Switches,
    /// `SWEEP_INTERVAL`.
    pub sweep_interval: Duration,
    /// `HOLD_DURATION`: how long a number is kept free for a waiting client before the place may pass on.
    pub hold: Duration,
    /// `NUMBER_COOLING`: how long a number that a client has left is kept from other clients. Zero: not at all.
    pub cooling: Duration,
    /// `REMINDERS` and `QUIET_HOURS`: when clients who fall silent are reminded.
    pub reminders: Schedule,
    /// The wordings of texts, with those of `WORDING_FILE`.
    pub wordings: Wordings,
    /// `FORWARDING_CHECK` and `QUIET_HOURS`: when live clients are told that no call has come for long.
    pub forwarding_checks: forwarding_checks::Schedule,
    /// `TEXT_BACK`: whether callers of clients who want that are texted back.
    pub text_back: bool,
    /// What Stripe's list of events is read with, if `STRIPE_API_KEY` is set.
    pub stripe_audit: Option<StripeAudit>,
    /// `AUDIT_INTERVAL`: how often Twilio's list of received texts, and Stripe's list of events, are compared with the inbox.
    pub audit_interval: Duration,
    /// `TWILIO_SEGMENTS_PER_SECOND`: the most segments that each of our numbers sends per second.
    pub segments_per_second: u32,
    /// `POOL_LEVEL_MIN`: the operator is alerted when a region has fewer free numbers that no client has a claim on. 0: never.
    pub pool_level_min: u32,
    /// `BATCH_MAX`: the most clients, texts or reports that share a transaction.
    pub batch_max: u32,
    /// Where alerts are delivered, if `ALERT_WEBHOOK_URL` is set.
    pub alert_webhook: Option<AlertWebhook>,
    /// `ERASURE_KEY`, by which the phones of erased persons are recognised, if it is set.
    pub erasure_key: Option<SecretString>,
    /// `RETENTION`: how long events and texts that are over are kept. Zero: for ever.
    pub retention: Duration,
    /// `OPS_ADDR`, if it is set.
    pub ops_addr: Option<SocketAddr>,
    /// Where spans are sent, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
    pub traces: Option<Traces>,
    /// `STOP_WITH_STDIN`: whether the end of standard input means to stop.
    pub stop_with_stdin: bool,
    /// How lines are printed.
    pub log: Log,
}

/// The settings of `jobrun`, whose commands differ in what they need.
#[derive(Clone, Debug)]
pub struct Operator {
    /// `DATABASE_URL`, if it is set.
    pub database_url: Option<SecretString>,
    /// `TWILIO_POOL_NUMBERS`: comma separated.
    pub pool_numbers: Vec<String>,
    /// `TWILIO_ONBOARDING_NUMBER`.
    pub onboarding_number: E164,
    /// `HOLD_DURATION`.
    pub hold: Duration,
    /// `NUMBER_COOLING`.
    pub cooling: Duration,
    /// The wordings of texts, with those of `WORDING_FILE`.
    pub wordings: Wordings,
    /// The kind of the account in `TWILIO_ACCOUNT_SID`, if that is set. Otherwise a stand-in is used.
    pub twilio_account: Option<AccountKind>,
    /// `PUBLIC_BASE_URL`, if it is set.
    pub public_base_url: Option<String>,
    /// `INGRESS_ADDR`. The default is reachable from this machine only.
    pub ingress_addr: SocketAddr,
    /// `STAND_IN_ADDR`: the address at which the stand-in for Twilio and Stripe listens.
    pub stand_in_addr: SocketAddr,
    /// `CONSOLE_ADDR`: the address at which the console listens.
    pub console_addr: SocketAddr,
    /// `CONSOLE_PUBLIC_URL`, if it is set.
    pub console_public_url: Option<String>,
    /// `OPS_ADDR`, if it is set.
    pub ops_addr: Option<SocketAddr>,
    /// `JOBRUN_DATA`: the folder in which `jobrun up` keeps its data, if it is set.
    pub data_dir: Option<String>,
    /// `STOP_WITH_STDIN`: whether the end of standard input means to stop.
    pub stop_with_stdin: bool,
    /// `PATH`, in which PostgreSQL's programs are looked for.
    pub path: String,
    /// `HOME`, below which data is kept, unless the program runs as root.
    pub home: Option<String>,
    /// How lines are printed.
    pub log: Log,
}

/// The settings of `jobrun numbers check`, which reads both the account and the pool.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// `DATABASE_URL`.
    pub database_url: SecretString,
    /// The account at Twilio.
    pub twilio: Twilio,
}

/// The settings of `jobrun pool buy`.
#[derive(Clone, Debug)]
pub struct Buying {
    /// `DATABASE_URL`.
    pub database_url: SecretString,
    /// The account at Twilio.
    pub twilio: Twilio,
    /// `TWILIO_BUNDLE_SID`, if it is set: the regulatory bundle that numbers are bought under.
    pub bundle_sid: Option<String>,
    /// `TWILIO_ADDRESS_SID`, if it is set: the address that numbers are bought under.
    pub address_sid: Option<String>,
    /// `POOL_BUY_MAX`: the most numbers that may be bought within 30 days.
    pub max: u32,
}

/// The settings of `jobrun client erase`.
#[derive(Clone, Debug)]
pub struct Erasing {
    /// `DATABASE_URL`.
    pub database_url: SecretString,
    /// The account at Twilio, where texts are redacted.
    pub twilio: Twilio,
    /// `ERASURE_KEY`.
    pub key: SecretString,
}

impl Ingress {
    /// Reads the settings of the ingress from the environment.
    ///
    /// # Errors
    /// Names every setting that is missing or makes no sense.
    pub fn from_env() -> Result<Self, Problems> {
        Self::read(&Environment).map_err(Problems::or_misspelt)
    }

    pub(super) fn read(source: &dyn Source) -> Result<Self, Problems> {
        Reader::read(source, |reader| {
            let stripe = reader.stripe();
            let stop_with_stdin = reader.stop_with_stdin();
            let database_url = reader.database_url();
            let twilio = reader.twilio();
            let voicemail = reader.on_or_off("VOICEMAIL");
            let addr = reader.addr("INGRESS_ADDR");
            let ops_addr = reader.ops_addr();
            let traces = reader.traces();
            let log = reader.log();
            Some(Self {
                database_url: database_url?,
                twilio: twilio?,
                stripe,
                voicemail: voicemail?,
                addr: addr?,
                ops_addr,
                traces,
                stop_with_stdin,
                log: log?,
            })
        })
    }
}

/// Reads the address of the ops port, for a health check.
///
/// # Errors
/// When `OPS_ADDR` is not set, or makes no sense.
pub fn ops_addr() -> Result<SocketAddr, Problems> {
    Reader::read(&Environment, |reader| {
        reader.required("OPS_ADDR", OPS_ADDR_EXAMPLE)?;
        reader.ops_addr()
    })
}

impl Worker {
    /// Reads the settings of the worker from the environment.
    ///
    /// # Errors
    /// Names every setting that is missing or makes no sense.
    pub fn from_env() -> Result<Self, Problems> {
        Self::read(&Environment).map_err(Problems::or_misspelt)
    }

    pub(super) fn read(source: &dyn Source) -> Result<Self, Problems> {
        Reader::read(source, |reader| {
            let payment_link = reader.payment_link();
            let payment_portal = reader.payment_portal();
            let switches = reader.switches();
            let stripe_audit = reader.stripe_audit(payment_link.as_deref());
            let sweep_interval = reader.interval("SWEEP_INTERVAL");
            let audit_interval = reader.interval("AUDIT_INTERVAL");
            let hold = reader.hold();
            let cooling = reader.cooling();
            let reminders = reader.reminders();
            let wordings = reader.wordings();
            let forwarding_check = reader.forwarding_check();
            let text_back = reader.on_or_off("TEXT_BACK");
            let segments_per_second = reader.segments_per_second();
            let pool_level_min = reader.pool_level_min();
            let batch_max = reader.batch_max();
            let retention = reader.retention();
            let voicemail = reader.on_or_off("VOICEMAIL");
            let erasure_key = reader.erasure_key_if_set();
            let ops_addr = reader.ops_addr();
            let traces = reader.traces();
            let alert_webhook = reader.alert_webhook();
            let stop_with_stdin = reader.stop_with_stdin();
            let database_url = reader.database_url();
            let twilio = reader.twilio();
            let log = reader.log();
            Some(Self {
                database_url: database_url?,
                twilio: twilio?,
                voicemail: voicemail?,
                payment_link,
                payment_portal,
                switches: switches?,
                stripe_audit,
                sweep_interval: sweep_interval?,
                hold: hold?,
                cooling: cooling?,
                forwarding_checks: forwarding_checks::Schedule {
                    after: forwarding_check?,
                    quiet: reminders.as_ref()?.quiet,
                },
                reminders: Schedule { has_cases: switches?.cases, ..reminders? },
                text_back: text_back?,
                wordings: wordings?,
                audit_interval: audit_interval?,
                segments_per_second: segments_per_second?,
                pool_level_min: pool_level_min?,
                batch_max: batch_max?,
                retention: retention?,
                erasure_key,
                ops_addr,
                traces,
                alert_webhook,
                stop_with_stdin,
                log: log?,
            })
        })
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

    pub(super) fn read(source: &dyn Source) -> Result<Self, Problems> {
        Reader::read(source, |reader| {
            let database_url = reader.database_url_if_set();
            let public_base_url = reader.get("PUBLIC_BASE_URL").and_then(|_| reader.base_url("PUBLIC_BASE_URL"));
            let pool_numbers = reader.list("TWILIO_POOL_NUMBERS");
            let hold = reader.hold();
            let cooling = reader.cooling();
            let wordings = reader.wordings();
            let ingress_addr = reader.up_ingress_addr();
            let stand_in_addr = reader.addr("STAND_IN_ADDR");
            let console_addr = reader.addr("CONSOLE_ADDR");
            let console_public_url = reader.console_public_url();
            let stop_with_stdin = reader.stop_with_stdin();
            let ops_addr = reader.ops_addr();
            reader.check_settings_of_other_programs();
            let onboarding_number = reader.onboarding_number();
            let log = reader.log();
            let twilio_account = reader.get("TWILIO_ACCOUNT_SID").map(|sid| AccountKind::of(&sid));
            let data_dir = reader.get("JOBRUN_DATA");
            let path = reader.get("PATH").unwrap_or_default();
            let home = reader.get("HOME");
            Some(Self {
                database_url,
                pool_numbers,
                onboarding_number: onboarding_number?,
                hold: hold?,
                cooling: cooling?,
                wordings: wordings?,
                twilio_account,
                public_base_url,
                ingress_addr: ingress_addr?,
                stand_in_addr: stand_in_addr?,
                console_addr: console_addr?,
                console_public_url,
                ops_addr,
                data_dir,
                stop_with_stdin,
                path,
                home,
                log: log?,
            })
        })
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

    pub(super) fn read(source: &dyn Source) -> Result<Self, Problems> {
        Reader::read(source, |reader| {
            let database_url = reader.database_url();
            let twilio = reader.twilio();
            Some(Self { database_url: database_url?, twilio: twilio? })
        })
    }
}

impl Erasing {
    /// Reads the settings of `jobrun client erase` from the environment.
    ///
    /// # Errors
    /// Names every setting that is missing or makes no sense.
    pub fn from_env() -> Result<Self, Problems> {
        Self::read(&Environment).map_err(Problems::or_misspelt)
    }

    pub(super) fn read(source: &dyn Source) -> Result<Self, Problems> {
        Reader::read(source, |reader| {
            reader.required("ERASURE_KEY", "$(openssl rand -hex 32)");
            let key = reader.erasure_key_if_set();
            let database_url = reader.database_url();
            let twilio = reader.twilio();
            Some(Self { database_url: database_url?, twilio: twilio?, key: key? })
        })
    }
}

impl Reader<'_> {
    /// Reads the key of digests, which must be too long to be guessed: there are few phones.
    pub(super) fn erasure_key_if_set(&mut self) -> Option<SecretString> {
        let key = self.get("ERASURE_KEY")?;
        if key.len() < ERASURE_KEY_MIN {
            self.add_problem(format!("ERASURE_KEY has fewer than {ERASURE_KEY_MIN} characters"));
        }
        Some(key.into())
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

    pub(super) fn read(source: &dyn Source) -> Result<Self, Problems> {
        Reader::read(source, |reader| {
            let bundle_sid = reader.sid_if_set("TWILIO_BUNDLE_SID", "BU");
            let address_sid = reader.sid_if_set("TWILIO_ADDRESS_SID", "AD");
            let max = reader.buy_max();
            let database_url = reader.database_url();
            let twilio = reader.twilio();
            Some(Self { database_url: database_url?, twilio: twilio?, bundle_sid, address_sid, max: max? })
        })
    }
}

impl Reader<'_> {
    /// `jobrun up` is for trying out: by default other machines do not reach it.
    pub(super) fn up_ingress_addr(&mut self) -> Option<SocketAddr> {
        const DEFAULT: &str = "127.0.0.1:8080";
        if self.is_default("INGRESS_ADDR") { DEFAULT.parse().ok() } else { self.addr_such_as("INGRESS_ADDR", DEFAULT) }
    }

    pub(super) fn database_url(&mut self) -> Option<SecretString> {
        self.required("DATABASE_URL", "postgres://jobrun:password@localhost/jobrun")?;
        self.database_url_if_set()
    }

    pub(super) fn database_url_if_set(&mut self) -> Option<SecretString> {
        let url = self.get("DATABASE_URL")?;
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            self.add_problem("DATABASE_URL does not begin with postgres://");
        }
        Some(SecretString::from(url))
    }

    /// Checks settings that a command may do without, so that the first command that runs names a wrong one.
    pub(super) fn check_settings_of_other_programs(&mut self) {
        self.account_sid_if_set();
        self.signature_algorithms();
        self.signature_mode();
        self.base_url("TWILIO_API_BASE_URL");
        self.segments_per_second();
        self.sid_if_set("TWILIO_BUNDLE_SID", "BU");
        self.sid_if_set("TWILIO_ADDRESS_SID", "AD");
        self.buy_max();
        self.payment_link();
        if !self.is_in_a_file("STRIPE_WEBHOOK_SECRET") {
            self.webhook_secrets();
        }
        self.livemode_if_set();
        self.base_url("STRIPE_API_BASE_URL");
        if !self.is_in_a_file("STRIPE_API_KEY") {
            self.stripe_key_if_set();
        }
        if !self.is_in_a_file("ALERT_WEBHOOK_URL") && !self.is_in_a_file("ALERT_WEBHOOK_SECRET") {
            self.alert_webhook();
        }
        self.interval("SWEEP_INTERVAL");
        self.interval("AUDIT_INTERVAL");
        self.pool_level_min();
        self.batch_max();
        self.retention();
        self.on_or_off("VOICEMAIL");
        self.switches();
        self.on_or_off("TEXT_BACK");
        if !self.is_in_a_file("ERASURE_KEY") {
            self.erasure_key_if_set();
        }
        self.check_console();
    }

    /// Reads a switch.
    pub(super) fn on_or_off(&mut self, name: &'static str) -> Option<bool> {
        match self.get(name).unwrap_or_default().as_str() {
            "on" => Some(true),
            "off" => Some(false),
            _ => {
                self.add_invalid(name, "neither on nor off");
                None
            }
        }
    }

    pub(super) fn switches(&mut self) -> Option<Switches> {
        let (cases, phone_change) = (self.on_or_off("CASES"), self.on_or_off("PHONE_CHANGE"));
        Some(Switches { cases: cases?, phone_change: phone_change? })
    }

    pub(super) fn stop_with_stdin(&mut self) -> bool {
        self.parsed("STOP_WITH_STDIN", "true or false").unwrap_or_default()
    }

    pub(super) fn log(&mut self) -> Option<Log> {
        let format = match self.get("LOG_FORMAT").unwrap_or_default().as_str() {
            "plain" => Some(LogFormat::Plain),
            "full" => Some(LogFormat::Full),
            "json" => Some(LogFormat::Json),
            _ => {
                self.add_invalid("LOG_FORMAT", "none of plain, full and json");
                None
            }
        };
        let filter = self.get("RUST_LOG").unwrap_or_default();
        if filter.parse::<tracing_subscriber::EnvFilter>().is_err() {
            self.add_invalid("RUST_LOG", "not a filter, such as info or jobrun_worker=debug");
        }
        format.map(|format| Log { format, filter })
    }
}
