//! Twilio's error codes for texts, each with the class that decides how it is handled. This is the only list of them.
//!
//! A code arrives in the response to a request, or later in a delivery report. Source: Twilio's error dictionary and its pages
//! for single codes. Where the pages are silent, the class of a code is our judgement.

use chrono::TimeDelta;

/// The class of a code, which decides how the text is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The text was certainly not delivered, and may be if it is tried again after this long.
    Passing(TimeDelta),
    /// Twilio may have accepted the text. It is looked for at Twilio first, and never sent again without that.
    Uncertain,
    /// Texts cannot reach the recipient. It is marked unreachable until it texts us.
    Recipient,
    /// The recipient or its carrier blocks this text, but perhaps not another.
    Blocked,
    /// The recipient has asked for no more texts.
    OptedOut,
    /// The content of the text, or the country that it goes to, is refused. The operator has to look at it.
    Content,
    /// The sender's number, or a setting of the account's, is wrong. The text waits until the operator corrects it.
    Configuration,
    /// The account itself is refused. Nothing is sent until it is accepted again.
    Account,
    /// The text's validity period ended before it could be delivered.
    Expired,
    /// Two machines reply to each other.
    Loop,
    /// Our request was invalid. The program has to be corrected.
    Defect,
    /// The code is not in the list. It counts as final, and the operator has to look at it.
    Unlisted,
}

impl Class {
    /// Returns its name, for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passing(_) => "passing",
            Self::Uncertain => "uncertain",
            Self::Recipient => "recipient",
            Self::Blocked => "blocked",
            Self::OptedOut => "opted_out",
            Self::Content => "content",
            Self::Configuration => "configuration",
            Self::Account => "account",
            Self::Expired => "expired",
            Self::Loop => "loop",
            Self::Defect => "defect",
            Self::Unlisted => "unlisted",
        }
    }
}

/// A code, its class, and its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Twilio's code.
    pub code: i32,
    /// Its class.
    pub class: Class,
    /// Its meaning, in words.
    pub meaning: &'static str,
}

const fn known(code: i32, class: Class, meaning: &'static str) -> Known {
    Known { code, class, meaning }
}

const fn minutes(minutes: i64) -> Class {
    Class::Passing(TimeDelta::minutes(minutes))
}

/// Every code that a text of ours can get. Codes about pictures, WhatsApp and buying numbers are left out, except those that can
/// occur in a response about a text.
pub const KNOWN: [Known; 80] = [
    known(14107, Class::Loop, "more than thirty texts in a row between the same two numbers"),
    known(20003, Class::Account, "the credentials are refused, or the account is suspended or closed"),
    known(20005, Class::Account, "the account is not active"),
    known(20006, Class::Account, "access is denied"),
    known(20008, Class::Account, "test credentials are used"),
    known(20403, Class::Account, "access is forbidden"),
    known(20404, Class::Account, "there is no such account"),
    known(20429, minutes(0), "too many requests at a time"),
    known(20500, Class::Uncertain, "internal error"),
    known(20503, Class::Uncertain, "service unavailable"),
    known(21211, Class::Recipient, "the recipient is not a phone number"),
    known(21212, Class::Configuration, "the sender is not a phone number, or is blocked"),
    known(21214, Class::Recipient, "the recipient cannot be reached"),
    known(21217, Class::Recipient, "the recipient is not a phone number"),
    known(21219, Class::Configuration, "a trial account may only text verified numbers"),
    known(21265, Class::Recipient, "the recipient is a short code"),
    known(21266, Class::Recipient, "the recipient is the sender"),
    known(21408, Class::Content, "texts to the recipient's country are switched off in the account"),
    known(21601, Class::Configuration, "the sender's number cannot send texts"),
    known(21602, Class::Defect, "a text without words"),
    known(21603, Class::Defect, "a text without a sender"),
    known(21604, Class::Defect, "a text without a recipient"),
    known(21606, Class::Configuration, "the sender's number is not the account's, or cannot send texts"),
    known(21608, Class::Configuration, "a trial account may only text verified numbers"),
    known(21609, Class::Defect, "the address for delivery reports makes no sense"),
    known(21610, Class::OptedOut, "the recipient has opted out"),
    known(21611, minutes(5), "the sender's queue at Twilio is full"),
    known(21612, Class::Recipient, "there is no way from the sender to the recipient"),
    known(21614, Class::Recipient, "the recipient is not a mobile number"),
    known(21616, Class::Defect, "the sender is ambiguous"),
    known(21617, Class::Content, "longer than 1600 characters"),
    known(21618, Class::Content, "every carrier filters these words"),
    known(21619, Class::Defect, "a text without words"),
    known(21620, Class::Content, "the picture's address makes no sense"),
    known(21621, Class::Content, "too many pictures"),
    known(21622, Class::Content, "the picture is too large"),
    known(21623, Class::Content, "the picture cannot be read"),
    known(21624, Class::Defect, "the validity period is out of range"),
    known(21635, Class::Recipient, "the recipient is a landline"),
    known(21654, Class::Configuration, "the content template is not found"),
    known(21655, Class::Configuration, "the content template is not right"),
    known(21656, Class::Configuration, "the content template's variables are not right"),
    known(21657, Class::Configuration, "the sender's name is not right"),
    known(21658, Class::Configuration, "a parameter is too long"),
    known(21659, Class::Configuration, "the sender is not one of Twilio's numbers"),
    known(21660, Class::Configuration, "the sender's number belongs to another account"),
    known(21661, Class::Configuration, "the sender's number cannot send texts"),
    known(21703, Class::Configuration, "the messaging service has no number that can send"),
    known(21704, Class::Configuration, "the messaging service has no numbers"),
    known(21705, Class::Configuration, "there is no such messaging service"),
    known(21730, minutes(10), "maintenance"),
    known(30001, minutes(10), "the sender's queue at Twilio overflowed"),
    known(30002, Class::Account, "the account was suspended after the text was queued"),
    known(30003, minutes(120), "the phone is off or out of reach"),
    known(30004, Class::Blocked, "the recipient or its carrier blocks the text"),
    known(30005, Class::Recipient, "the number is unknown, or gone"),
    known(30006, Class::Recipient, "the number is a landline, or of a carrier that takes no texts"),
    known(30007, Class::Content, "a carrier takes these words for spam"),
    known(30008, minutes(10), "the carrier gives no reason"),
    known(30010, Class::Content, "dearer than allowed"),
    known(30011, Class::Content, "the carrier takes no pictures"),
    known(30017, minutes(10), "the carrier is congested"),
    known(30018, Class::Configuration, "the sender's number has to be registered"),
    known(30019, Class::Content, "larger than the carrier takes"),
    known(30020, minutes(1), "scheduling failed at Twilio"),
    known(30021, minutes(1), "Twilio's messaging service failed"),
    known(30022, Class::Configuration, "the rate allowed to the registered sender is exceeded"),
    known(30023, Class::Configuration, "the daily limit of the registered sender is reached"),
    known(30024, Class::Configuration, "the sender's number is not provisioned by the carrier"),
    known(30027, Class::Configuration, "the daily limit of the registered sender is reached"),
    known(30032, Class::Configuration, "the sender's number is not verified"),
    known(30034, Class::Configuration, "the sender's number is not registered"),
    known(30035, Class::Configuration, "the sender's number is still being set up"),
    known(30036, Class::Expired, "the validity period passed before it could be delivered"),
    known(30037, Class::Account, "the account may not send texts"),
    known(30045, Class::Defect, "the validity period is out of range"),
    known(30410, Class::Uncertain, "the carrier did not answer in time"),
    known(30450, minutes(35), "blocked for a while on suspicion of fraud"),
    known(30500, minutes(1), "internal error"),
    known(90007, Class::Defect, "the validity period is out of range"),
];

/// Returns the entry of `code`.
#[must_use]
pub fn find(code: i32) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.code == code)
}

/// Returns the class of `code` in a delivery report: [`Class::Unlisted`] if there is no code, or no entry for it.
#[must_use]
pub fn class_of(code: Option<i32>) -> Class {
    code.and_then(find).map_or(Class::Unlisted, |known| known.class)
}

/// Returns the meaning of `code` in words, which contain no phone number.
#[must_use]
pub fn meaning(code: Option<i32>) -> &'static str {
    code.and_then(find).map_or("Twilio gives no reason that we know", |known| known.meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_in_order() {
        assert!(KNOWN.is_sorted_by(|one, next| one.code < next.code));
        assert_eq!(find(21610).unwrap().class, Class::OptedOut);
        assert_eq!(find(63016), None);
        assert_eq!(meaning(Some(30003)), "the phone is off or out of reach");
    }
}
