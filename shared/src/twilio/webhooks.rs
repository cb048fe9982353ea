//! The webhooks that Twilio is to be given: for which numbers, on what occasion, and where to.
//!
//! The only place that knows these paths, so that what is served, printed, checked and mended is the same.

/// Where Twilio posts a text.
pub const SMS: &str = "/webhooks/twilio/sms";

/// Where Twilio posts a delivery report. No number is told of it: every text carries the address.
pub const SMS_STATUS: &str = "/webhooks/twilio/sms/status";

/// Where Twilio asks what to do with a call.
pub const VOICE: &str = "/webhooks/twilio/voice";

/// Where Twilio posts how a call went on.
pub const VOICE_STATUS: &str = "/webhooks/twilio/voice/status";

/// The method of all of them.
pub const METHOD: &str = "POST";

/// How often Twilio is to try again (`rc`), after what (`rp`), and how long it is to wait for a connection (`ct`) and an answer
/// (`rt`), in milliseconds: within its 15 seconds in all, which one hung answer would use up by default.
///
/// By itself it tries only once more, and only if it could not connect: what a restart answers with 503 would be lost.
pub const RETRIES: [(&str, &str); 4] = [("rc", "5"), ("rp", "ct,rt,5xx"), ("ct", "2000"), ("rt", "2500")];

/// What a number of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Clients text it.
    Onboarding,
    /// It is handed out.
    Pool,
}

impl Purpose {
    /// Its name in what operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Onboarding => "onboarding",
            Self::Pool => "pool",
        }
    }
}

/// When Twilio is to tell us something about a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody texts it.
    Message,
    /// Somebody rings it.
    Call,
    /// A call to it went on, or ended.
    CallStatus,
}

impl Occasion {
    /// As Twilio's console puts it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Message => "a message comes in",
            Self::Call => "a call comes in",
            Self::CallStatus => "call status changes",
        }
    }

    /// The field of Twilio's REST API that holds the address.
    #[must_use]
    pub const fn url_field(self) -> &'static str {
        match self {
            Self::Message => "SmsUrl",
            Self::Call => "VoiceUrl",
            Self::CallStatus => "StatusCallback",
        }
    }

    /// The field of Twilio's REST API that holds the method.
    #[must_use]
    pub const fn method_field(self) -> &'static str {
        match self {
            Self::Message => "SmsMethod",
            Self::Call => "VoiceMethod",
            Self::CallStatus => "StatusCallbackMethod",
        }
    }
}

/// One address to be entered for a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// For numbers of this purpose.
    pub purpose: Purpose,
    /// For this occasion.
    pub occasion: Occasion,
    /// The path below `PUBLIC_BASE_URL`.
    pub path: &'static str,
}

/// Every address to be entered.
pub const WEBHOOKS: [Webhook; 4] = [
    Webhook { purpose: Purpose::Onboarding, occasion: Occasion::Message, path: SMS },
    Webhook { purpose: Purpose::Pool, occasion: Occasion::Message, path: SMS },
    Webhook { purpose: Purpose::Pool, occasion: Occasion::Call, path: VOICE },
    Webhook { purpose: Purpose::Pool, occasion: Occasion::CallStatus, path: VOICE_STATUS },
];

/// The addresses to be entered for a number of this purpose.
pub fn of(purpose: Purpose) -> impl Iterator<Item = Webhook> {
    WEBHOOKS.into_iter().filter(move |webhook| webhook.purpose == purpose)
}

impl Webhook {
    /// The address as Twilio is given it, its retries included.
    #[must_use]
    pub fn address(&self, public_base_url: &str) -> String {
        with_retries(&format!("{public_base_url}{}", self.path))
    }
}

/// An address that asks Twilio for our retries. What follows the `#` is neither sent nor signed.
#[must_use]
pub fn with_retries(address: &str) -> String {
    let retries = RETRIES.map(|(key, value)| format!("{key}={value}")).join("&");
    format!("{address}#{retries}")
}

/// Whether the part of an address after `#` asks for our retries. What else it asks for is the operator's choice.
#[must_use]
pub fn asks_for_retries(fragment: &str) -> bool {
    // The order of keys, and of what is tried again after, means nothing to Twilio.
    let sorted = |values: &str| {
        let mut values: Vec<String> = values.split(',').map(str::to_owned).collect();
        values.sort_unstable();
        values
    };
    let given = |key: &str| fragment.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key);
    RETRIES.iter().all(|(key, wanted)| given(key).is_some_and(|(_, value)| sorted(value) == sorted(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_asks_for_the_retries_that_are_looked_for() {
        let address = WEBHOOKS[3].address("https://example.com/jobrun");
        assert_eq!(
            address,
            "https://example.com/jobrun/webhooks/twilio/voice/status#rc=5&rp=ct,rt,5xx&ct=2000&rt=2500"
        );
        assert!(asks_for_retries(address.split_once('#').unwrap().1));
        assert!(asks_for_retries("e=dublin&rp=5xx,ct,rt&rc=5&rt=2500&ct=2000"));
        for other in ["", "rc=5", "rp=ct,rt,5xx", "rc=5&rp=ct,rt,5xx", "rc=1&rp=ct,rt,5xx&ct=2000&rt=2500"] {
            assert!(!asks_for_retries(other), "{other}");
        }
    }
}
