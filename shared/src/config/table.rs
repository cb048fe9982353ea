//! The table of settings. It drives the reader, `jobrun settings` and the warning about near misses. The operator's guide is
//! written by hand, and a test compares it with this table.

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// An earlier name, which is still read.
    pub earlier_name: Option<&'static str>,
    /// The programs that read it.
    pub read_by: &'static str,
    /// Its default.
    pub default: Option<&'static str>,
    /// Whether it is a secret. A secret is never shown, and may be kept in a file that `…_FILE` names.
    pub is_secret: bool,
    /// Its meaning, for the operator.
    pub meaning: &'static str,
}

impl Setting {
    /// Returns the setting of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Returns the environment variable that names a file with its value, if it is a secret.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        self.is_secret.then(|| format!("{}_FILE", self.name))
    }
}

const fn setting(
    name: &'static str,
    read_by: &'static str,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Setting {
    Setting { name, earlier_name: None, read_by, default, is_secret: false, meaning }
}

const fn secret(name: &'static str, read_by: &'static str, meaning: &'static str) -> Setting {
    Setting { is_secret: true, ..setting(name, read_by, None, meaning) }
}

/// Every setting, by name.
pub const SETTINGS: [Setting; 56] = [
    setting(
        "ALERT_WEBHOOK_FORMAT",
        "worker",
        Some("json"),
        "The form in which alerts are delivered: `json`, `slack` (an incoming webhook) or `alertmanager` (its /api/v2/alerts).",
    ),
    secret(
        "ALERT_WEBHOOK_SECRET",
        "worker",
        "What signs each delivery of an alert. Without it, deliveries are not signed.",
    ),
    secret(
        "ALERT_WEBHOOK_URL",
        "worker",
        "Where alerts and all-clears are posted. Without it, nowhere. Some receivers take its path for a secret.",
    ),
    setting(
        "AUDIT_INTERVAL",
        "worker",
        Some("5m"),
        "How often Twilio's list of texts that came in, but for the last 15 seconds, and Stripe's list of events, but for the last minute, are compared with the inbox.",
    ),
    Setting {
        earlier_name: Some("SLICE_MAX"),
        ..setting(
            "BATCH_MAX",
            "worker",
            Some("200"),
            "How many clients, texts or reports share a transaction at most, and, below 100, how many texts a sending job has under way. 1 gives each a transaction of its own.",
        )
    },
    setting(
        "CASES",
        "worker",
        Some("on"),
        "`off`: questions, doubts and calls for help are not passed on to a person, and no case is opened; alerts alone tell of clients who need one.",
    ),
    setting(
        "CONSOLE_ADDR",
        "console, jobrun up",
        Some("127.0.0.1:8070"),
        "Where the console listens, in plain HTTP. `jobrun up --console-port` replaces the port.",
    ),
    setting(
        "CONSOLE_PROXY_HEADER",
        "console",
        None,
        "The header in which a trusted proxy names the person who is logged in there, such as X-Forwarded-Email. Without it, people log in at the console. Needs CONSOLE_TRUSTED_PROXIES.",
    ),
    setting(
        "CONSOLE_PUBLIC_URL",
        "console, jobrun console",
        None,
        "The address at which browsers reach the console: https://console.example.com. Requests from pages of any other origin are refused. With https, the cookie is for https only.",
    ),
    setting("CONSOLE_SESSION_LIFETIME", "console", Some("12h"), "How long a login lasts, at most 30 days."),
    setting(
        "CONSOLE_TRUSTED_PROXIES",
        "console",
        None,
        "The IP addresses of proxies whose headers are believed, comma separated: X-Forwarded-For, and CONSOLE_PROXY_HEADER.",
    ),
    secret("DATABASE_URL", "all", "postgres://user:password@host/database. `jobrun up` and `jobrun demo` do without."),
    secret(
        "ERASURE_KEY",
        "worker, jobrun client erase",
        "The key of the digests by which an erased person who had opted out is recognised: 32 characters at least, never changed. Needed to erase.",
    ),
    setting(
        "FORWARDING_CHECK",
        "worker",
        Some("30d"),
        "How long after the last call a live client is told that no call has come, 7 to 30 days; off for never.",
    ),
    setting(
        "HOLD_DURATION",
        "worker, jobrun",
        Some("48h"),
        "How long a number is kept free for a waiting client before the place may pass on.",
    ),
    setting("HOME", "jobrun", None, "Where `jobrun up` keeps its data, unless JOBRUN_DATA says so."),
    setting(
        "INGRESS_ADDR",
        "ingress, jobrun up",
        Some("0.0.0.0:8080"),
        "Where webhooks are taken. The default of `jobrun up` is 127.0.0.1:8080; `jobrun up --port` replaces the port.",
    ),
    setting(
        "JOBRUN_DATA",
        "jobrun up",
        None,
        "The folder of its data. The default is /var/lib/jobrun for root, else ~/.local/share/jobrun; `jobrun up --data` goes before it.",
    ),
    setting(
        "LOG_FORMAT",
        "all",
        Some("plain"),
        "`plain` (the line and nothing else), `full` (time, level, target) or `json`.",
    ),
    setting(
        "NUMBER_COOLING",
        "worker, jobrun",
        Some("30d"),
        "How long a number is kept from other clients after its client has left. `0s`: not at all.",
    ),
    setting(
        "OPS_ADDR",
        "ingress, worker, console, jobrun up",
        None,
        "Where `/livez`, `/readyz` and `/metrics` are served, such as 127.0.0.1:9470: for the operator's network only. Without it, nowhere. Programs on one machine need a port each; `jobrun up` gives its worker the next port, and its console the one after.",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "ingress, worker",
        None,
        "Where traces are sent, by OTLP over HTTP: the address of a collector, such as http://127.0.0.1:4318, to which `/v1/traces` is added. Without it, nowhere.",
    ),
    secret(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "ingress, worker",
        "The headers of each request to the collector, such as authorization=Bearer%20…: name=value, comma separated, with special characters of a value as %XX. No other variable of OpenTelemetry's has an effect.",
    ),
    setting(
        "OTEL_TRACES_SAMPLER_ARG",
        "ingress, worker",
        Some("0.1"),
        "The share of webhooks that are traced, from 0 to 1. The ingress decides; the worker follows.",
    ),
    setting("PATH", "jobrun", None, "Where PostgreSQL's programs are looked for."),
    setting(
        "PAYMENT_LINK_URL",
        "ingress, worker",
        None,
        "Where clients pay: a payment link of Stripe's, https://buy.stripe.com/…; each client's reference is added to it. Without it, clients are sent a placeholder.",
    ),
    setting(
        "PAYMENT_PORTAL_URL",
        "worker",
        None,
        "Where clients cancel their subscriptions: the login link of Stripe's customer portal. Without it, each wish to cancel is an alert.",
    ),
    setting(
        "PHONE_CHANGE",
        "worker",
        Some("on"),
        "`off`: no client moves to a new phone by a code. Operators can move it still.",
    ),
    setting(
        "POOL_BUY_MAX",
        "jobrun pool buy",
        Some("10"),
        "How many numbers may be bought within 30 days, by all runs together.",
    ),
    setting(
        "POOL_LEVEL_MIN",
        "worker",
        Some("3"),
        "An alert is raised when a region has fewer numbers that no client has a claim on. `0`: never.",
    ),
    setting(
        "PUBLIC_BASE_URL",
        "ingress, worker, jobrun up, jobrun numbers, jobrun pool buy",
        None,
        "What Twilio was given, and signs, to the letter: https://onboarding.example.com.",
    ),
    setting(
        "QUIET_HOURS",
        "worker",
        Some("20:00-08:00"),
        "When no reminder is sent, no client told that no call has come, and no caller texted back, by the client's own clock; off for never.",
    ),
    setting(
        "REMINDERS",
        "worker",
        Some("1h,1d,3d"),
        "How long after a client fell silent during its sign-up it is reminded, comma separated; off for never.",
    ),
    setting(
        "RETENTION",
        "worker",
        Some("400d"),
        "How long events and texts that are over are kept, 30 days at least. `0s`: for ever.",
    ),
    setting("RUST_LOG", "all", Some("info"), "Which lines are printed. The journal always is."),
    setting(
        "STAND_IN_ADDR",
        "jobrun up",
        Some("127.0.0.1:8090"),
        "Where the stand-in for Twilio and Stripe listens. `jobrun up --stand-in-port` replaces the port.",
    ),
    setting(
        "STOP_WITH_STDIN",
        "ingress, worker, console, jobrun up",
        Some("false"),
        "`true`: the end of standard input means to stop, as SIGTERM does; for a program that starts them and may be killed.",
    ),
    setting("STRIPE_API_BASE_URL", "worker", Some("https://api.stripe.com"), "Where Stripe's API is."),
    secret(
        "STRIPE_API_KEY",
        "worker",
        "rk_…, a restricted key that may read events and subscriptions. Without it, Stripe is never called, and missed events stay missed.",
    ),
    setting(
        "STRIPE_LIVEMODE",
        "ingress, worker",
        None,
        "`true` takes live events only, `false` test ones only. The default is `true`, unless the payment link is a test one (…/test_…) or not set.",
    ),
    secret(
        "STRIPE_WEBHOOK_SECRET",
        "ingress",
        "whsec_…, the signing secret of the endpoint at Stripe; comma separated during rotation. To be set when PAYMENT_LINK_URL is.",
    ),
    setting(
        "SWEEP_INTERVAL",
        "worker",
        Some("60s"),
        "How often each worker sweeps; the work is done once between them.",
    ),
    setting(
        "TEXT_BACK",
        "worker",
        Some("off"),
        "`on`: a client who goes live is asked whether its mobile callers are texted when it misses them, and each is once a day if it wants that.",
    ),
    setting("TWILIO_ACCOUNT_SID", "ingress, worker, jobrun up, jobrun numbers check, jobrun pool buy", None, "AC…"),
    setting(
        "TWILIO_ADDRESS_SID",
        "jobrun pool buy",
        None,
        "AD…: the address that numbers are bought under, where one is asked for.",
    ),
    setting(
        "TWILIO_API_BASE_URL",
        "ingress, worker, jobrun numbers check, jobrun pool buy",
        Some("https://api.twilio.com"),
        "Where Twilio's API is.",
    ),
    secret(
        "TWILIO_AUTH_TOKEN",
        "ingress, worker, jobrun numbers check, jobrun pool buy",
        "The auth tokens: one, or several, comma separated, during rotation. The first is used for sending.",
    ),
    setting(
        "TWILIO_BUNDLE_SID",
        "jobrun pool buy",
        None,
        "BU…: the regulatory bundle that numbers are bought under, which the UK asks for.",
    ),
    setting("TWILIO_ONBOARDING_NUMBER", "all", Some("+447476955179"), "The number that clients text."),
    setting(
        "TWILIO_POOL_NUMBERS",
        "jobrun",
        None,
        "The numbers that `jobrun pool seed` adds when it is given none, comma separated.",
    ),
    setting(
        "TWILIO_SEGMENTS_PER_SECOND",
        "worker",
        Some("10"),
        "How many segments each of our numbers sends a second at most. Twilio takes ten outside North America.",
    ),
    secret(
        "TWILIO_SHARED_KEYS",
        "ingress, worker, jobrun numbers check, jobrun pool buy",
        "Secrets for `sha256`, comma separated during rotation. To be set exactly when `sha256` is listed.",
    ),
    setting(
        "TWILIO_SIGNATURE_ALGORITHMS",
        "ingress, worker, jobrun numbers check, jobrun pool buy",
        Some("sha1"),
        "Which signatures webhooks may have: `sha1` (by an auth token), `sha256` (by a shared key) or `sha1,sha256`.",
    ),
    setting(
        "TWILIO_SIGNATURE_MODE",
        "ingress, worker, jobrun numbers check, jobrun pool buy",
        Some("enforce"),
        "`report` lets webhooks with a wrong signature in, while an installation is set up.",
    ),
    setting(
        "VOICEMAIL",
        "ingress, worker",
        Some("off"),
        "`on`: callers of live numbers are asked to leave a message. Twilio records it, and the owner is texted a link for a week.",
    ),
    setting(
        "WORDING_FILE",
        "worker, jobrun",
        None,
        "A file with the wordings of texts that differ from the built-in ones; `jobrun wording --check FILE` checks one. Without it, all are the built-in ones.",
    ),
];
