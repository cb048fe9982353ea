//! The webhook addresses to be entered at Twilio: for which numbers, for which occasion, and with which path.
//!
//! Only this module defines the paths, so that the addresses that are served, printed, checked and set are the same.

/// The path that Twilio posts a text to.
pub const SMS: &str = "/webhooks/twilio/sms";

/// The path that Twilio posts a delivery report to. It is set for no number: every text carries the address.
pub const SMS_STATUS: &str = "/webhooks/twilio/sms/status";

/// The path where Twilio asks how to handle a call.
pub const VOICE: &str = "/webhooks/twilio/voice";

/// The path that Twilio posts changes of a call's status to.
pub const VOICE_STATUS: &str = "/webhooks/twilio/voice/status";

/// The path that Twilio posts to when a caller has left a message, and when its recording is ready. It is set for no number: the response
/// to a call has the address.
pub const VOICE_RECORDING: &str = "/webhooks/twilio/voice/recording";

/// The HTTP method of all of them.
pub const METHOD: &str = "POST";

/// The retry settings of an address: how often Twilio tries again (`rc`), after which failures (`rp`), and how long it waits for a
/// connection (`ct`) and a response (`rt`), in milliseconds. All of it fits into Twilio's 15 seconds, which one hung response
/// would use up by default.
///
/// By default Twilio retries only once, and only if it could not connect: a text that meets a 503 during a restart would be lost.
pub const RETRIES: [(&str, &str); 4] = [("rc", "5"), ("rp", "ct,rt,5xx"), ("ct", "2000"), ("rt", "2500")];

/// The purpose of a number of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Clients text it.
    Onboarding,
    /// It is given to a client.
    Pool,
}

impl Purpose {
    /// Returns its name in output for operators.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Onboarding => "onboarding",
            Self::Pool => "pool",
        }
    }
}

/// An occasion on which Twilio calls a webhook of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A text to it arrives.
    Message,
    /// A call to it arrives.
    Call,
    /// The status of a call to it changes.
    CallStatus,
}

impl Occasion {
    /// Returns its label in Twilio's console.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Message => "a message comes in",
            Self::Call => "a call comes in",
            Self::CallStatus => "call status changes",
        }
    }

    /// Returns the field of Twilio's REST API that holds the address.
    #[must_use]
    pub const fn url_field(self) -> &'static str {
        match self {
            Self::Message => "SmsUrl",
            Self::Call => "VoiceUrl",
            Self::CallStatus => "StatusCallback",
        }
    }

    /// Returns the field of Twilio's REST API that holds the method.
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
    /// The purpose of the numbers that it is entered for.
    pub purpose: Purpose,
    /// The occasion on which it is called.
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

/// Returns the addresses to be entered for a number of this purpose.
pub fn for_purpose(purpose: Purpose) -> impl Iterator<Item = Webhook> {
    WEBHOOKS.into_iter().filter(move |webhook| webhook.purpose == purpose)
}

impl Webhook {
    /// Returns the address to be entered at Twilio, retry settings included.
    #[must_use]
    pub fn address(&self, public_base_url: &str) -> String {
        with_retries(&format!("{public_base_url}{}", self.path))
    }
}

/// Returns the address with our retry settings. The part after the `#` is neither sent nor signed.
#[must_use]
pub fn with_retries(address: &str) -> String {
    let retries = RETRIES.map(|(key, value)| format!("{key}={value}")).join("&");
    format!("{address}#{retries}")
}

/// Returns whether the part of an address after `#` has our retry settings. Further settings are the operator's choice.
#[must_use]
pub fn asks_for_retries(fragment: &str) -> bool {
    // The order of keys, and of the failures in `rp`, means nothing to Twilio.
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
    fn an_address_has_the_retry_settings_that_are_checked() {
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
