//! The parameters of Twilio's webhooks: the form that each of them must have.
//!
//! Twilio signs names and values without separators, so a valid signature does not prove where a value ends. Its form does:
//! `SM1f…NumMedia0` is no identifier.

/// Returns whether this is a MessageSid: `SM` or `MM`, and 32 hexadecimal digits.
#[must_use]
pub fn is_message_sid(value: &str) -> bool {
    is_sid(value, "SM") || is_sid(value, "MM")
}

/// Returns whether this is a CallSid: `CA`, and 32 hexadecimal digits.
#[must_use]
pub fn is_call_sid(value: &str) -> bool {
    is_sid(value, "CA")
}

/// Returns whether this is a RecordingSid: `RE`, and 32 hexadecimal digits.
#[must_use]
pub fn is_recording_sid(value: &str) -> bool {
    is_sid(value, "RE")
}

fn is_sid(value: &str, prefix: &str) -> bool {
    value
        .strip_prefix(prefix)
        .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Every MessageStatus that Twilio documents.
const MESSAGE_STATUSES: [&str; 13] = [
    "accepted",
    "scheduled",
    "queued",
    "sending",
    "sent",
    "delivered",
    "undelivered",
    "failed",
    "canceled",
    "read",
    "partially_delivered",
    "receiving",
    "received",
];

/// Returns whether this is a MessageStatus.
#[must_use]
pub fn is_message_status(value: &str) -> bool {
    MESSAGE_STATUSES.contains(&value)
}

/// The progress of a call, by its CallStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallProgress {
    /// It arrives, or is under way.
    Arrived,
    /// It is over.
    Ended,
}

/// Reads a CallStatus. Returns nothing for a status that Twilio does not document.
#[must_use]
pub fn call_progress(status: &str) -> Option<CallProgress> {
    match status {
        "queued" | "initiated" | "ringing" | "in-progress" => Some(CallProgress::Arrived),
        "completed" | "busy" | "failed" | "no-answer" | "canceled" => Some(CallProgress::Ended),
        _ => None,
    }
}

/// Prefixes of addresses that are no phone numbers but contain one.
const CHANNELS: [&str; 2] = ["whatsapp:", "rcs:"];

/// Returns whether this has the form of a number of ours: E.164, also as the address of a channel.
#[must_use]
pub fn is_our_number(value: &str) -> bool {
    let number = CHANNELS.iter().find_map(|channel| value.strip_prefix(channel)).unwrap_or(value);
    number
        .strip_prefix('+')
        .is_some_and(|digits| (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The length of the longest sender that is a name.
const NAME_LENGTH_MAX: usize = 11;

/// Returns whether a text can have come from this sender: a phone number as networks write it, a short code, a name, or the
/// address of a channel.
#[must_use]
pub fn is_sender(value: &str) -> bool {
    is_our_number(value) || is_dialled(value) || is_name(value)
}

/// Returns whether this consists of 3 to 17 digits, with a `+` before them and separators between them.
fn is_dialled(value: &str) -> bool {
    let (mut digits, mut others) = (0, 0);
    for byte in value.strip_prefix('+').unwrap_or(value).bytes() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b' ' | b'-' | b'(' | b')' | b'.' => others += 1,
            _ => return false,
        }
    }
    (3..=17).contains(&digits) && others <= 8
}

fn is_name(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" &_-.'+".contains(&byte);
    value.len() <= NAME_LENGTH_MAX && value.bytes().any(|byte| byte.is_ascii_alphabetic()) && value.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_its_prefix_and_exactly_32_digits() {
        let digits = "0123456789abcdefABCDEF0123456789";
        for prefix in ["SM", "MM"] {
            assert!(is_message_sid(&format!("{prefix}{digits}")));
        }
        assert!(is_call_sid(&format!("CA{digits}")) && is_recording_sid(&format!("RE{digits}")));
        let merged = format!("SM{digits}NumMedia0");
        let short = format!("SM{}", &digits[1..]);
        let (call, letter) = (format!("CA{digits}"), format!("SM{}g", &digits[1..]));
        for other in ["", "SM", "SM1", &merged, &short, &call, &letter, &format!(" SM{digits}")] {
            assert!(!is_message_sid(other), "{other}");
        }
        assert!(!is_call_sid(&format!("SM{digits}")) && !is_call_sid(&format!("CA{digits}CallStatusringing")));
    }

    #[test]
    fn only_documented_statuses_are_accepted() {
        assert!(is_message_status("delivered") && is_message_status("read"));
        assert!(!is_message_status("Delivered") && !is_message_status("deliveredTo+44") && !is_message_status(""));
        assert_eq!(call_progress("ringing"), Some(CallProgress::Arrived));
        assert_eq!(call_progress("no-answer"), Some(CallProgress::Ended));
        for other in ["", "answered", "ringingCalled", "RINGING"] {
            assert_eq!(call_progress(other), None, "{other}");
        }
    }

    #[test]
    fn only_well_formed_senders_and_numbers_are_accepted() {
        for good in ["+447900000001", "whatsapp:+447900000001"] {
            assert!(is_our_number(good) && is_sender(good), "{good}");
        }
        for good in ["12345", "Vodafone", "anonymous", "+44 7900 000001", "07900000001", "O2 UK", "AT&T", "unavailable"]
        {
            assert!(is_sender(good) && !is_our_number(good), "{good}");
        }
        for bad in
            ["", "+447900000001FromCity", "12345FromCityLeeds", "a\nb", "sip:x@example.com", "whatsapp:Vodafone", "12"]
        {
            assert!(!is_sender(bad) && !is_our_number(bad), "{bad:?}");
        }
        assert!(!is_our_number("+44790000000112345") && !is_our_number("+447900000001ToCountryGB"));
    }
}
