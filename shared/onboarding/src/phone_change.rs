//! The rules of a change of phone: the client proves who it is by a code that is sent to its old phone, or to an operator.
//!
//! The new phone texts as a newcomer. It is told the same words whether or not the old number is a client's, and whether or not a code
//! was sent, so that no one learns who our clients are. The caller makes, keeps and compares codes: here there is no randomness.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Client, E164, Payment, State, TextKind};

/// How long a code can be given after it was asked for.
pub const CODE_VALID_FOR: TimeDelta = TimeDelta::minutes(15);

/// The number of codes that can be asked for in [`REQUESTS_COUNTED_FOR`], by each new phone and for each old one.
pub const REQUESTS_MAX: i64 = 3;

/// The time over which requests are counted.
pub const REQUESTS_COUNTED_FOR: TimeDelta = TimeDelta::days(1);

/// How long after a request digits are no answer to a question: they are its code, too late.
pub const CODE_KNOWN_FOR: TimeDelta = TimeDelta::days(1);

/// How long after a change of phone, or a code for one, the old phone is heard as the client's: it may not have asked.
pub const OLD_PHONE_HEARD_FOR: TimeDelta = TimeDelta::days(30);

/// The wrong code that ends a request.
pub const WRONG_TRIES_MAX: u32 = 5;

/// The digits of a code.
const CODE_DIGITS: usize = 6;

/// Returns the code that a random number makes.
#[must_use]
pub fn code_of(random: u32) -> String {
    format!("{:0width$}", random % 1_000_000, width = CODE_DIGITS)
}

/// Returns the words of a text of the stored `kind` for people who must not know a code: they could take the client's service.
#[must_use]
pub fn without_code(kind: &str, body: String) -> String {
    if kind != TextKind::PhoneCode.name() {
        return body;
    }
    body.chars().map(|it| if it.is_ascii_digit() { '*' } else { it }).collect()
}

/// Words that may stand beside a code.
const BESIDE_CODE: &[&str] =
    &["code", "my", "the", "its", "is", "it", "here", "heres", "your", "jobrun", "hi", "thanks", "please", "ok", "yes"];

/// Returns the code in a text that says nothing else: "123456", "123 456", "My code is 123456".
#[must_use]
pub fn code_in(body: &str) -> Option<String> {
    let said = crate::answer::words_of(body);
    let (digits, words): (Vec<&String>, Vec<&String>) =
        said.iter().partition(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    let code: String = digits.iter().map(|it| it.as_str()).collect();
    let fits =
        digits.len() <= 3 && code.len() == CODE_DIGITS && words.iter().all(|it| BESIDE_CODE.contains(&it.as_str()));
    fits.then_some(code)
}

/// A step of a change, which the caller takes together with the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhoneChangeStep {
    /// The newcomer says that this is its old number.
    Asked(E164),
    /// The newcomer gave the right code.
    Proved,
    /// The newcomer gave a wrong code, and may try again.
    WrongTry,
    /// The newcomer gave its last wrong code, or came too late.
    Over,
}

/// A code that a newcomer gives, compared with the one of its open request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeReply {
    /// Whether it is the code that was sent.
    pub is_right: bool,
    /// The number of wrong codes before.
    pub wrong_before: u32,
    /// When the code ends.
    pub expires_at: DateTime<Utc>,
    /// When the text reached us.
    pub received_at: DateTime<Utc>,
}

/// Returns whether a phone has a service of its own, so that no other service can move to it by text.
pub(crate) fn has_own_service(client: &Client) -> bool {
    client.may_be_charged() || client.number.is_some()
}

/// The facts about a request for a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The newcomer.
    pub newcomer: &'a Client,
    /// The client with the old number, if there is one.
    pub client: Option<&'a Client>,
    /// Whether one of them is being erased.
    pub is_being_erased: bool,
    /// Whether changes of phone by a code are switched on.
    pub is_on: bool,
    /// The requests of the new phone, and those for the old one, in the last [`REQUESTS_COUNTED_FOR`].
    pub requests: (i64, i64),
    /// When the text reached us.
    pub asked_at: DateTime<Utc>,
    /// The time of the decision.
    pub now: DateTime<Utc>,
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A code goes to the old phone.
    SendCode,
    /// No code is sent, and every code that is given will be wrong.
    Pretend,
    /// No code is sent, and an operator is asked to look: the client may be right, and cannot prove it in this way. As after
    /// [`Self::Pretend`], every code that is given will be wrong, so that the reply to one tells nothing.
    AskOperator,
}

impl Answer {
    /// Returns the outcome under which it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendCode => "code_sent",
            Self::Pretend => "no_code",
            Self::AskOperator => "no_code_possible",
        }
    }
}

/// Returns whether a client has something that can move: it is past the questions, or it pays or has paid.
fn is_signed_up(client: &Client) -> bool {
    client.state > State::S5ConfirmLive || has_own_service(client) || client.payment != Payment::None
}

/// Decides a request for a code.
#[must_use]
pub fn answer_request(request: &Request<'_>) -> Answer {
    let (by_new, for_old) = request.requests;
    // After an outage or a restore the person may have given up, or the change may be made already.
    let is_late = request.now > request.asked_at + CODE_VALID_FOR;
    if !request.is_on || is_late || by_new >= REQUESTS_MAX || has_own_service(request.newcomer) {
        return Answer::AskOperator;
    }
    let Some(client) = request.client.filter(|it| is_signed_up(it) && !request.is_being_erased) else {
        return Answer::Pretend;
    };
    let can_be_texted = !client.opted_out && !client.unreachable;
    if can_be_texted && for_old < REQUESTS_MAX { Answer::SendCode } else { Answer::AskOperator }
}

/// Returns whether the requests of a day are used up for a client that could move. Perhaps another person tries to take its service.
#[must_use]
pub fn are_used_up(request: &Request<'_>) -> bool {
    let (by_new, for_old) = request.requests;
    by_new.max(for_old) >= REQUESTS_MAX && request.client.is_some_and(is_signed_up)
}

/// The reason for which a change is not made. Its name is stored as the outcome of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMoved {
    /// The client is gone, or has another phone than the one that was seen.
    Overtaken,
    /// The new phone pays, or holds a number.
    HasOwnService,
    /// One of the two is being erased.
    Erased,
    /// The client has this phone already.
    AlreadySo,
}

impl NotMoved {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Overtaken, Self::HasOwnService, Self::Erased, Self::AlreadySo];

    /// Returns the outcome under which it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overtaken => "refused_phone_changed",
            Self::HasOwnService => "refused_has_own_service",
            Self::Erased => "refused_being_erased",
            Self::AlreadySo => "refused_phone_is_so",
        }
    }

    /// Returns the reason that is stored under `name`, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Returns the reason in words, after "refused: ".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Overtaken => "the client's phone has changed since",
            Self::HasOwnService => "the new phone pays or holds a number itself",
            Self::Erased => "the client, or the one with the new phone, is being erased",
            Self::AlreadySo => "the client has this phone already",
        }
    }
}

/// Decides whether `client` moves from `old` to the phone of `newcomer`.
///
/// # Errors
/// The reason, if it does not.
pub fn may_move(
    client: Option<&Client>,
    newcomer: Option<&Client>,
    old: &E164,
    new: &E164,
    is_being_erased: bool,
) -> Result<(), NotMoved> {
    let phone = client.map(|it| &it.owner_phone);
    match () {
        () if phone == Some(new) => Err(NotMoved::AlreadySo),
        () if phone != Some(old) => Err(NotMoved::Overtaken),
        () if is_being_erased => Err(NotMoved::Erased),
        () if newcomer.is_some_and(has_own_service) => Err(NotMoved::HasOwnService),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits() {
        assert_eq!(
            [0, 7, 999_999, 1_000_000, u32::MAX].map(code_of),
            ["000000", "000007", "999999", "000000", "967295"]
        );
    }

    #[test]
    fn a_code_is_read_alone_or_beside_a_few_words() {
        for body in [
            "123456",
            " 123456. ",
            "123 456",
            "12 34 56",
            "123-456",
            "Code 123456",
            "My code is 123456",
            "it's 123456 thanks",
        ] {
            assert_eq!(code_in(body).as_deref(), Some("123456"), "{body}");
        }
        for body in [
            "12345",
            "1234567",
            "1 2 3 4 5 6",
            "call me on 123456",
            "Plumber 123456",
            "",
            "07700 900123",
            "１２３４５６",
        ] {
            assert_eq!(code_in(body), None, "{body}");
        }
    }
}
