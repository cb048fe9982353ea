//! The settings of the account at Twilio.

use jobrun_onboarding::E164;
use jobrun_twilio::api::Account;
use jobrun_twilio::signature::{Algorithm, Key};
use secrecy::SecretString;

use super::reader::Reader;

/// The account at Twilio.
#[derive(Clone, Debug)]
pub struct Twilio {
    /// `TWILIO_ACCOUNT_SID`, the first of `TWILIO_AUTH_TOKEN`, `TWILIO_API_BASE_URL` and `PUBLIC_BASE_URL`.
    pub account: Account,
    /// `TWILIO_ONBOARDING_NUMBER`: the number that clients text.
    pub onboarding_number: E164,
    /// The keys that may sign webhooks. `TWILIO_SIGNATURE_ALGORITHMS` chooses them: every one of `TWILIO_AUTH_TOKEN`, every one of
    /// `TWILIO_SHARED_KEYS`, or both.
    pub webhook_keys: Vec<Key>,
    /// `TWILIO_SIGNATURE_MODE`.
    pub signature_mode: SignatureMode,
}

impl Twilio {
    /// Returns the kind of the account.
    #[must_use]
    pub fn account_kind(&self) -> AccountKind {
        AccountKind::of(&self.account.sid)
    }
}

/// The SID of the account of the stand-in. Twilio gives it to no account.
pub const STAND_IN_ACCOUNT_SID: &str = "AC00000000000000000000000000000000";

/// The kind of the account that a program works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// An account at Twilio.
    Real,
    /// The account of the stand-in, recognised by its SID.
    StandIn,
}

impl AccountKind {
    /// Every kind.
    pub(super) const ALL: [Self; 2] = [Self::Real, Self::StandIn];

    /// Returns the kind of the account with this SID.
    #[must_use]
    pub fn of(account_sid: &str) -> Self {
        if account_sid == STAND_IN_ACCOUNT_SID { Self::StandIn } else { Self::Real }
    }

    /// Returns its name in the database.
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

/// How a webhook is treated whose signature does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureMode {
    /// It is rejected.
    Enforce,
    /// It is accepted and reported. Then any sender who knows the address can pretend to be any client: only for the day on which
    /// signatures are set up.
    Report,
}

impl Reader<'_> {
    pub(super) fn account_sid_if_set(&mut self) -> Option<String> {
        let account_sid = self.get("TWILIO_ACCOUNT_SID")?;
        if !account_sid.starts_with("AC") {
            self.add_problem("TWILIO_ACCOUNT_SID does not begin with AC: it is the account's SID, not an API key's");
        }
        Some(account_sid)
    }

    pub(super) fn twilio(&mut self) -> Option<Twilio> {
        self.required("TWILIO_ACCOUNT_SID", "ACxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        let account_sid = self.account_sid_if_set();
        let tokens = self.list("TWILIO_AUTH_TOKEN");
        if tokens.is_empty() && self.can_be_found("TWILIO_AUTH_TOKEN") {
            self.add_problem(
                "TWILIO_AUTH_TOKEN is not set (the account's primary token; comma separated during rotation)",
            );
        }
        let api_base_url = self.base_url("TWILIO_API_BASE_URL");
        let public_base_url = self.base_url("PUBLIC_BASE_URL");
        let onboarding_number = self.onboarding_number();
        let auth_tokens: Vec<SecretString> = tokens.into_iter().map(SecretString::from).collect();
        let webhook_keys = self.webhook_keys(&auth_tokens);
        let signature_mode = self.signature_mode();
        Some(Twilio {
            account: Account {
                sid: account_sid?,
                auth_token: auth_tokens.into_iter().next()?,
                api_base_url: api_base_url?,
                public_base_url: public_base_url?,
            },
            onboarding_number: onboarding_number?,
            webhook_keys,
            signature_mode: signature_mode?,
        })
    }

    /// Returns the keys of the accepted signatures, which only this function decides. Half of a changeover is a problem: a shared
    /// key that is never used, or an algorithm without a key.
    pub(super) fn webhook_keys(&mut self, auth_tokens: &[SecretString]) -> Vec<Key> {
        let names = self.signature_algorithms();
        let is_listed = |algorithm: &str| names.iter().any(|name| name == algorithm);
        let shared_keys: Vec<SecretString> =
            self.list("TWILIO_SHARED_KEYS").into_iter().map(SecretString::from).collect();
        match (is_listed("sha256"), shared_keys.is_empty()) {
            (true, true) => {
                self.add_problem("TWILIO_SHARED_KEYS is not set, and TWILIO_SIGNATURE_ALGORITHMS lists sha256")
            }
            (false, false) => {
                self.add_problem("TWILIO_SHARED_KEYS is set, and TWILIO_SIGNATURE_ALGORITHMS does not list sha256")
            }
            (true, false) | (false, true) => {}
        }
        let tokens = if is_listed("sha1") { auth_tokens } else { &[] };
        let tokens = tokens.iter().map(|token| Key { algorithm: Algorithm::HmacSha1, secret: token.clone() });
        tokens.chain(shared_keys.into_iter().map(|secret| Key { algorithm: Algorithm::HmacSha256, secret })).collect()
    }

    pub(super) fn signature_algorithms(&mut self) -> Vec<String> {
        let names = self.get("TWILIO_SIGNATURE_ALGORITHMS").unwrap_or_default();
        let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(|name| !["sha1", "sha256"].contains(&name.as_str())) {
            self.add_problem("TWILIO_SIGNATURE_ALGORITHMS is not a list of sha1 and sha256, such as sha1,sha256");
        }
        names
    }

    pub(super) fn signature_mode(&mut self) -> Option<SignatureMode> {
        match self.get("TWILIO_SIGNATURE_MODE").unwrap_or_default().as_str() {
            "enforce" => Some(SignatureMode::Enforce),
            "report" => Some(SignatureMode::Report),
            _ => {
                self.add_invalid("TWILIO_SIGNATURE_MODE", "neither enforce nor report");
                None
            }
        }
    }

    pub(super) fn onboarding_number(&mut self) -> Option<E164> {
        let number = E164::parse(&self.get("TWILIO_ONBOARDING_NUMBER").unwrap_or_default()).ok();
        if number.is_none() {
            self.add_problem("TWILIO_ONBOARDING_NUMBER is not in E.164 form, such as +447476955179");
        }
        number
    }

    pub(super) fn segments_per_second(&mut self) -> Option<u32> {
        let expected = "a number of segments from 1 to 1000000, such as 10";
        let pace = self.parsed("TWILIO_SEGMENTS_PER_SECOND", expected)?;
        if !(1..=1_000_000).contains(&pace) {
            self.add_invalid("TWILIO_SEGMENTS_PER_SECOND", &format!("not {expected}"));
        }
        Some(pace)
    }
}
