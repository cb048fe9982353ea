//! Misbehaviour: the stand-in fails as Twilio can, on command or at random.
//!
//! Random faults depend on the seed, the text and the count of its attempts, never on the order of requests: the same seed
//! brings the same faults, however requests interleave.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::MessageStatus;
use crate::api::refuse;
use crate::connection::Connection;

/// Longer than any caller waits for a response.
const LATE: Duration = Duration::from_secs(10);

/// A fault of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429, with a `Retry-After` of one second. Nothing is accepted.
    RetryAfter,
    /// 429, without a `Retry-After`. Nothing is accepted.
    TooMany,
    /// 500. Nothing is accepted.
    ErrorBefore,
    /// 500, but the text is accepted.
    ErrorAfter,
    /// 503. Nothing is accepted.
    Unavailable,
    /// The text is accepted, and the response comes after the caller's timeout.
    Late,
    /// The connection breaks. Nothing is accepted.
    DroppedBefore,
    /// The text is accepted, and the connection breaks.
    DroppedAfter,
    /// The text is accepted, and the response cannot be parsed.
    Unreadable,
    /// 401, as if the credentials were wrong. Nothing is accepted.
    Unauthorised,
    /// 400, with this error code. Nothing is accepted.
    Refused(u32),
}

impl Fault {
    const NAMES: [(&str, Self); 10] = [
        ("429-retry-after", Self::RetryAfter),
        ("429", Self::TooMany),
        ("500-before", Self::ErrorBefore),
        ("500-after", Self::ErrorAfter),
        ("503", Self::Unavailable),
        ("late", Self::Late),
        ("dropped-before", Self::DroppedBefore),
        ("dropped-after", Self::DroppedAfter),
        ("unreadable", Self::Unreadable),
        ("401", Self::Unauthorised),
    ];

    /// The faults that occur at random. After each of them, a retry can still send the text.
    const AT_RANDOM: [Self; 9] = [
        Self::RetryAfter,
        Self::TooMany,
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::Unavailable,
        Self::Late,
        Self::DroppedBefore,
        Self::DroppedAfter,
        Self::Unreadable,
    ];

    const OF_READS_AT_RANDOM: [Self; 3] = [Self::TooMany, Self::ErrorBefore, Self::DroppedBefore];

    /// Returns the fault of that name: a word such as `500-after`, or an error code of Twilio's (five digits).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let code = || name.parse().ok().filter(|code| (10_000..100_000).contains(code)).map(Self::Refused);
        Self::NAMES.iter().find(|(it, _)| *it == name).map(|(_, fault)| *fault).or_else(code)
    }

    /// Whether the text is accepted in spite of the fault.
    pub(crate) const fn takes(self) -> bool {
        matches!(self, Self::ErrorAfter | Self::Late | Self::DroppedAfter | Self::Unreadable)
    }

    /// Returns the response that the caller gets in place of `answer`.
    pub(crate) async fn apply(self, answer: Response, connection: &Connection) -> Response {
        let too_many = || refuse(StatusCode::TOO_MANY_REQUESTS, 20429, "Too Many Requests");
        match self {
            Self::RetryAfter => ([(header::RETRY_AFTER, "1")], too_many()).into_response(),
            Self::TooMany => too_many(),
            Self::ErrorBefore | Self::ErrorAfter => {
                refuse(StatusCode::INTERNAL_SERVER_ERROR, 20500, "An internal server error has occurred")
            }
            Self::Unavailable => refuse(StatusCode::SERVICE_UNAVAILABLE, 20503, "Service Unavailable"),
            Self::Late => {
                tokio::time::sleep(LATE).await;
                answer
            }
            Self::DroppedBefore | Self::DroppedAfter => {
                connection.cut();
                answer
            }
            Self::Unreadable => (answer.status(), Html("<html><body>Bad gateway</body></html>")).into_response(),
            Self::Unauthorised => refuse(StatusCode::UNAUTHORIZED, 20003, "Authenticate"),
            Self::Refused(code) => refuse(StatusCode::BAD_REQUEST, code, "Refused on command"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, Self::NAMES.iter().find(|(_, fault)| fault == self)) {
            (Self::Refused(code), _) => write!(f, "{code}"),
            (_, Some((name, _))) => f.write_str(name),
            (_, None) => Ok(()),
        }
    }
}

/// How a text ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It stays queued at Twilio.
    Queued,
    /// It arrives.
    Delivered,
    /// It is handed to the carrier, and no report follows.
    Sent,
    /// The carrier could not deliver it, and this error code says why.
    Undelivered(u32),
    /// It was never handed to the carrier, and this error code says why.
    Failed(u32),
}

impl DeliveryOutcome {
    /// The random outcomes besides `Delivered`. The worker gives up the recipient after none of them, and goes on to send it texts.
    const OTHERS_AT_RANDOM: [Self; 5] =
        [Self::Sent, Self::Undelivered(30003), Self::Undelivered(30004), Self::Undelivered(30008), Self::Failed(30007)];

    /// Returns the outcome of that name, such as `delivered` or `failed-30007`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.split_once('-') {
            None if name == "queued" => Some(Self::Queued),
            None if name == "delivered" => Some(Self::Delivered),
            None if name == "sent" => Some(Self::Sent),
            Some(("undelivered", code)) => code.parse().ok().map(Self::Undelivered),
            Some(("failed", code)) => code.parse().ok().map(Self::Failed),
            _ => None,
        }
    }

    /// Returns the statuses that the text has after `Queued`, in order.
    pub(crate) const fn steps(self) -> &'static [MessageStatus] {
        match self {
            Self::Queued => &[],
            Self::Delivered => &[MessageStatus::Sent, MessageStatus::Delivered],
            Self::Sent => &[MessageStatus::Sent],
            Self::Undelivered(_) => &[MessageStatus::Sent, MessageStatus::Undelivered],
            Self::Failed(_) => &[MessageStatus::Failed],
        }
    }

    /// Returns Twilio's error code, if the text does not arrive.
    pub(crate) const fn error_code(self) -> Option<u32> {
        match self {
            Self::Undelivered(code) | Self::Failed(code) => Some(code),
            Self::Queued | Self::Delivered | Self::Sent => None,
        }
    }
}

/// How the delivery reports of a text are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// Each once, in order, when the text's own response is sent.
    InOrder,
    /// Each twice.
    Twice,
    /// Each once, in reverse order.
    Reordered,
    /// Each once, in order, this long after the text's own response.
    Late(Duration),
    /// Each once, in order, before the text's own response.
    BeforeAnswer,
    /// None is sent.
    Missing,
}

impl Reports {
    const NAMES: [(&str, Self); 6] = [
        ("in-order", Self::InOrder),
        ("twice", Self::Twice),
        ("reordered", Self::Reordered),
        ("late", Self::Late(Duration::from_secs(2))),
        ("before-answer", Self::BeforeAnswer),
        ("missing", Self::Missing),
    ];

    /// Returns the value of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(it, _)| *it == name).map(|(_, reports)| *reports)
    }
}

/// Random misbehaviour of requests, delivery outcomes, delivery reports and the list, each in `percent` of a hundred cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misbehaviour {
    /// The same seed brings the same faults.
    pub seed: u64,
    /// In how many of a hundred cases each of them misbehaves.
    pub percent: u8,
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, percent } = self;
        write!(
            f,
            "Twilio misbehaves in {percent} % of cases, by seed {seed}; seed={seed}&percent={percent} repeats it."
        )
    }
}

/// How one text is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Treatment {
    pub(crate) fault: Option<Fault>,
    pub(crate) outcome: DeliveryOutcome,
    pub(crate) reports: Reports,
    /// For how long the list does not show it.
    pub(crate) unlisted: Duration,
}

impl Misbehaviour {
    /// Returns the treatment of the given attempt, counted from 0, to send `body` to `to`.
    fn treatment(self, to: &str, body: &str, attempt: u64) -> Treatment {
        let random = |purpose: &str| Random::new(self.seed, &[purpose, to, body], attempt);
        let (mut fault, mut outcome, mut lag) = (random("fault"), random("fate"), random("lag"));
        Treatment {
            fault: fault.chance(self.percent).then(|| fault.one_of(&Fault::AT_RANDOM)),
            outcome: if outcome.chance(self.percent) {
                outcome.one_of(&DeliveryOutcome::OTHERS_AT_RANDOM)
            } else {
                DeliveryOutcome::Delivered
            },
            reports: self.reports(random("reports")),
            unlisted: if lag.chance(self.percent) { Duration::from_millis(lag.below(2000)) } else { Duration::ZERO },
        }
    }

    fn reports(self, mut random: Random) -> Reports {
        if !random.chance(self.percent) {
            return Reports::InOrder;
        }
        let late = Reports::Late(Duration::from_millis(1000 + random.below(2000)));
        random.one_of(&[Reports::Twice, Reports::Reordered, late, Reports::BeforeAnswer, Reports::Missing])
    }

    /// Returns the fault of a read. `time` counts the reads with the same key, from 0.
    fn of_read(self, asked: &str, time: u64) -> Option<Fault> {
        let mut random = Random::new(self.seed, &["read", asked], time);
        random.chance(self.percent).then(|| random.one_of(&Fault::OF_READS_AT_RANDOM))
    }
}

/// A pseudorandom generator: SplitMix64, whose start is the FNV-1a hash of the seed, the purpose and the attempt.
struct Random(u64);

impl Random {
    fn new(seed: u64, about: &[&str], times: u64) -> Self {
        // The byte 255 occurs in no UTF-8 text, so different lists of words give different bytes.
        let words = about.iter().flat_map(|word| word.bytes().chain([255]));
        let bytes = seed.to_le_bytes().into_iter().chain(words).chain(times.to_le_bytes());
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, fnv))
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }

    fn one_of<T: Copy, const N: usize>(&mut self, things: &[T; N]) -> T {
        #[expect(clippy::cast_possible_truncation, reason = "it is less than N")]
        let chosen = self.below(N as u64) as usize;
        things[chosen]
    }
}

/// The faults that were ordered, and the counts of those that occurred.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Orders>);

#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) next: VecDeque<Fault>,
    pub(crate) always: Option<Fault>,
    /// The faults of the next purchases of numbers, in order.
    pub(crate) purchases: VecDeque<Fault>,
    /// The numbers that another buyer takes once a search has shown them.
    pub(crate) sold_elsewhere: Vec<String>,
    pub(crate) outcome: Option<DeliveryOutcome>,
    pub(crate) reports: Option<Reports>,
    pub(crate) misbehaviour: Option<Misbehaviour>,
    /// How often each text was attempted, by recipient and body.
    attempts: HashMap<(String, String), u64>,
    /// How often each read was made, by its key.
    reads: HashMap<String, u64>,
    /// How often each fault occurred, by its name.
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Faults {
    pub(crate) fn orders(&self) -> MutexGuard<'_, Orders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the treatment of this attempt to send `body` to `to`: as ordered, else by the seed. Counts the attempt.
    pub(crate) fn of_text(&self, to: &str, body: &str) -> Treatment {
        let mut orders = self.orders();
        let attempt = count(&mut orders.attempts, (to.to_owned(), body.to_owned()));
        let well = Misbehaviour { seed: 0, percent: 0 };
        let mut treatment = orders.misbehaviour.unwrap_or(well).treatment(to, body, attempt);
        let ordered = orders.next.pop_front().or(orders.always);
        treatment.fault = ordered.or(treatment.fault);
        treatment.outcome = orders.outcome.unwrap_or(treatment.outcome);
        treatment.reports = orders.reports.unwrap_or(treatment.reports);
        orders.note(treatment.fault);
        treatment
    }

    /// Returns the fault of the next purchase of a number. Only ordered faults occur.
    pub(crate) fn of_purchase(&self) -> Option<Fault> {
        let mut orders = self.orders();
        let fault = orders.purchases.pop_front().or(orders.always);
        orders.note(fault);
        fault
    }

    /// Returns the fault of this request, which changes nothing. Requests with the same key `asked` count as the same read.
    pub(crate) fn of_read(&self, asked: &str) -> Option<Fault> {
        let mut orders = self.orders();
        let time = count(&mut orders.reads, asked.to_owned());
        let by_seed = orders.misbehaviour.and_then(|misbehaviour| misbehaviour.of_read(asked, time));
        let fault = orders.always.or(by_seed);
        orders.note(fault);
        fault
    }
}

impl Orders {
    /// Withdraws every order. The counts stay.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            attempts: std::mem::take(&mut self.attempts),
            reads: std::mem::take(&mut self.reads),
            counts: std::mem::take(&mut self.counts),
            ..Self::default()
        };
    }

    fn note(&mut self, fault: Option<Fault>) {
        if let Some(fault) = fault {
            *self.counts.entry(fault.to_string()).or_default() += 1;
        }
    }
}

/// Counts `key`, and returns how often it came before.
fn count<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u64>, key: K) -> u64 {
    let count = counts.entry(key).or_default();
    *count += 1;
    *count - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN: Misbehaviour = Misbehaviour { seed: 7, percent: 30 };

    fn treatments(order: impl Iterator<Item = u32>) -> BTreeMap<u32, Vec<String>> {
        let faults = Faults::default();
        faults.orders().misbehaviour = Some(SEVEN);
        let mut treatments: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for n in order {
            let treatment = faults.of_text(&format!("+4479{n:08}"), "Hi");
            treatments.entry(n).or_default().push(format!("{treatment:?}"));
        }
        treatments
    }

    #[test]
    fn the_same_seed_brings_the_same_faults_in_any_order() {
        let forwards = treatments((0..200).chain(0..200));
        let mixed = treatments((0..200).rev().flat_map(|n| [n, n]));
        assert_eq!(forwards, mixed);
        let other = Misbehaviour { seed: 8, ..SEVEN };
        assert!((0..50).any(|n| SEVEN.treatment("a", "b", n) != other.treatment("a", "b", n)));
    }

    #[test]
    fn the_share_of_random_faults_is_about_the_percentage_ordered() {
        let drawn: Vec<Treatment> = (0..2000).map(|n| SEVEN.treatment(&format!("+4479{n:08}"), "Hi", 0)).collect();
        let reads = (0..2000).filter(|n| SEVEN.of_read("a list", *n).is_some()).count();
        for wrong in [
            drawn.iter().filter(|it| it.fault.is_some()).count(),
            drawn.iter().filter(|it| it.outcome != DeliveryOutcome::Delivered).count(),
            drawn.iter().filter(|it| it.reports != Reports::InOrder).count(),
            drawn.iter().filter(|it| it.unlisted != Duration::ZERO).count(),
            reads,
        ] {
            assert!((500..700).contains(&wrong), "{wrong}");
        }
        for fault in Fault::AT_RANDOM {
            assert!(drawn.iter().any(|it| it.fault == Some(fault)), "{fault}");
        }
        assert!(drawn.iter().all(|it| it.outcome.error_code() != Some(21610)), "no recipient opts out at random");
    }

    #[test]
    fn names_of_faults_and_delivery_outcomes_are_parsed_to_what_they_name() {
        for (name, fault) in Fault::NAMES {
            assert_eq!((Fault::named(name), fault.to_string().as_str()), (Some(fault), name));
        }
        assert_eq!(Fault::named("21610"), Some(Fault::Refused(21610)));
        assert_eq!(Fault::named("404"), None);
        assert_eq!(DeliveryOutcome::named("failed-21610"), Some(DeliveryOutcome::Failed(21610)));
        assert_eq!(DeliveryOutcome::named("lost"), None);
        let sentence = "Twilio misbehaves in 30 % of cases, by seed 7; seed=7&percent=30 repeats it.";
        assert_eq!(SEVEN.to_string(), sentence);
    }
}
