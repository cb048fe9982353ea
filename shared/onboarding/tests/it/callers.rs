//! Tests of calls to a live number: how often a caller rang, and how rarely the owner is told.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::calls::{CallHistory, CountedCall, Day, EarlierCall};
use jobrun_onboarding::segments::segments;
use jobrun_onboarding::{
    Call, Client, Decision, E164, Event, Facts, State, Step, TextKind, VoiceMessage, caller, decide,
};

use crate::{client_at, english, facts};

const RINGS: &str = "+447700900123";

/// A client at COMPLETE, and the calls that were counted for it.
struct Owner {
    client: Client,
    day: Day,
    counted: Vec<CountedCall>,
}

impl Owner {
    fn new(region: &str) -> Self {
        let client = Client { number: E164::parse("+447111111111").ok(), ..client_at(State::Complete) };
        Self { client, day: Day::of(region), counted: Vec::new() }
    }

    /// Rings at `at` in UTC, as one report or as another. Returns the text that the owner gets.
    fn report(&mut self, event: fn(Call) -> Event, sid: &str, from: &str, at: DateTime<Utc>) -> Option<String> {
        let call = Call { sid: Some(sid.to_owned()), caller: caller(from), at };
        let of_caller = self.counted.iter().filter(|it| it.caller == call.caller);
        let calls = CallHistory {
            day: self.day,
            is_known: self.counted.iter().any(|it| it.sid == sid),
            earlier: of_caller
                .map(|it| EarlierCall { at: it.at, told: it.told, texted_back: it.texted_back })
                .collect(),
        };
        let facts = Facts { now: at, calls, ..facts(None) };
        let Step::Decided(decision) = decide(&self.client, &event(call), &facts) else { panic!("asks the pool") };
        assert!(decision.texts.len() <= 1 && decision.texts.iter().all(|text| text.kind == TextKind::MissedCall));
        self.counted.extend(decision.counted_call);
        let text = decision.texts.into_iter().next()?;
        assert_eq!(text.once_key, Some(format!("call:{sid}")));
        assert_eq!(segments(&english(&text)).count, 1, "{}", english(&text));
        Some(english(&text))
    }

    fn rings(&mut self, from: &str, at: DateTime<Utc>) -> Option<String> {
        let sid = format!("CA{}", self.counted.len());
        self.report(Event::CallArrived, &sid, from, at)
    }
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn body(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_first_call_is_told_as_ever_and_the_next_ones_with_their_times() {
    let mut ann = Owner::new("UK");
    // British summer time.
    assert_eq!(
        ann.rings(RINGS, utc("2026-07-10T08:12:00Z")),
        body("Missed call: +447700900123 rang your JobRun number.")
    );
    let twice = "Missed call: +447700900123 rang again: twice today, at 09:12 and 09:40.";
    assert_eq!(ann.rings(RINGS, utc("2026-07-10T08:40:00Z")), body(twice));
    let another = "Missed call: +447700900124 rang your JobRun number.";
    assert_eq!(
        ann.rings("+447700900124", utc("2026-07-10T09:00:00Z")),
        body(another),
        "another caller is another count"
    );
    let thrice = "Missed call: +447700900123 rang again: 3 times today, at 09:12, 09:40 and 11:05.";
    assert_eq!(ann.rings(RINGS, utc("2026-07-10T10:05:00Z")), body(thrice));
}

#[test]
fn a_new_day_begins_at_the_client_s_midnight() {
    let first = "Missed call: +447700900123 rang your JobRun number.";
    let mut ann = Owner::new("GB");
    assert_eq!(ann.rings(RINGS, utc("2026-07-10T22:59:00Z")), body(first));
    assert_eq!(ann.rings(RINGS, utc("2026-07-10T23:01:00Z")), body(first), "00:01 in London");
    let twice = "Missed call: +447700900123 rang again: twice today, at 00:01 and 12:00.";
    assert_eq!(ann.rings(RINGS, utc("2026-07-11T11:00:00Z")), body(twice));
}

/// The day on which the clocks go forward has 23 hours, and the other 25.
#[test]
fn a_day_on_which_the_clocks_change_begins_at_midnight_too() {
    let day = Day::of("GB");
    for (at, began_at) in [
        ("2026-03-29T12:00:00Z", "2026-03-29T00:00:00Z"),
        ("2026-03-30T12:00:00Z", "2026-03-29T23:00:00Z"),
        ("2026-10-25T12:00:00Z", "2026-10-24T23:00:00Z"),
        ("2026-10-26T12:00:00Z", "2026-10-26T00:00:00Z"),
    ] {
        assert_eq!(day.began_at(utc(at)), utc(began_at), "{at}");
    }
}

#[test]
fn where_the_local_time_is_not_known_the_last_24_hours_count() {
    for region in ["ZZ", "US"] {
        let mut ann = Owner::new(region);
        let (begins, first) = (utc("2026-07-10T08:00:00Z"), "Missed call: +447700900123 rang your JobRun number.");
        assert_eq!(ann.rings(RINGS, begins), body(first));
        let twice = "Missed call: +447700900123 rang again: twice in 24 hours.";
        assert_eq!(ann.rings(RINGS, begins + TimeDelta::hours(23)), body(twice));
        assert_eq!(ann.rings(RINGS, begins + TimeDelta::hours(48)), body(first));
    }
}

#[test]
fn both_reports_of_a_call_count_once_in_any_order() {
    let mut ann = Owner::new("GB");
    let at = utc("2026-01-10T09:00:00Z");
    assert!(ann.report(Event::CallEnded, "CA7", RINGS, at).is_some());
    assert_eq!(ann.report(Event::CallArrived, "CA7", RINGS, at + TimeDelta::minutes(5)), None);
    assert_eq!(ann.counted.len(), 1);
    let twice = "Missed call: +447700900123 rang again: twice today, at 09:00 and 09:30.";
    assert_eq!(ann.report(Event::CallEnded, "CA8", RINGS, at + TimeDelta::minutes(30)), body(twice));
}

#[test]
fn a_caller_who_rings_again_and_again_is_told_of_rarely() {
    let mut ann = Owner::new("GB");
    let begins = utc("2026-01-10T09:00:00Z");
    let told: Vec<i64> = (1..=50).filter(|n| ann.rings(RINGS, begins + TimeDelta::minutes(*n)).is_some()).collect();
    assert_eq!(told, [1, 2, 3, 5, 10, 20, 50]);
    assert_eq!(ann.counted.len(), 50, "all of them count");
    let text = "Missed call: +447700900123 rang again: 51 times today, from 09:01 to 12:00.";
    assert_eq!(ann.rings(RINGS, utc("2026-01-10T12:00:00Z")), body(text), "two hours after the last that was told");
    assert_eq!(ann.rings(RINGS, utc("2026-01-10T13:00:00Z")), None);

    // A call each minute of a day.
    let mut ben = Owner::new("GB");
    let minutes = (0..24 * 60).map(|minute| utc("2026-01-10T00:00:00Z") + TimeDelta::minutes(minute));
    let told = minutes.filter_map(|at| {
        // The rows of the last hundred calls are looked at.
        let known = ben.counted.len().saturating_sub(100);
        ben.counted.drain(..known);
        ben.report(Event::CallArrived, &at.to_rfc3339(), RINGS, at)
    });
    let told: Vec<String> = told.collect();
    assert!((8..40).contains(&told.len()), "{}", told.len());
    assert!(
        told.last().unwrap().starts_with("Missed call: +447700900123 rang again: over 100 times today, the last at ")
    );
}

#[test]
fn ten_calls_are_listed_in_one_segment_also_of_the_longest_number() {
    let mut ann = Owner::new("GB");
    let last = (0..10).filter_map(|n| ann.rings("+123456789012345", utc("2026-01-10T09:00:00Z") + TimeDelta::hours(n)));
    let text = last.last().unwrap();
    assert!(
        text.ends_with("10 times today, at 09:00, 10:00, 11:00, 12:00, 13:00, 14:00, 15:00, 16:00, 17:00 and 18:00.")
    );
}

#[test]
fn withheld_callers_are_counted_together() {
    let mut ann = Owner::new("GB");
    let begins = utc("2026-01-10T09:12:00Z");
    let first = "Missed call: a withheld number rang your JobRun number.";
    assert_eq!(ann.rings("anonymous", begins), body(first));
    let two = "Missed calls: 2 calls today from withheld numbers, at 09:12 and 09:32.";
    assert_eq!(ann.rings("+266696687", begins + TimeDelta::minutes(20)), body(two));
    let told = (21..60).filter(|n| ann.rings("Restricted", begins + TimeDelta::minutes(*n)).is_some()).count();
    assert_eq!(told, 4, "the third, fifth, tenth and twentieth");
}

#[test]
fn the_owner_s_own_calls_are_known_and_not_told_and_an_unnamed_call_is_not_counted() {
    let mut ann = Owner::new("GB");
    assert_eq!(ann.rings("+447900000001", utc("2026-01-10T09:00:00Z")), None);
    let own: Vec<_> = ann.counted.iter().map(|call| (call.caller.clone(), call.told)).collect();
    assert_eq!(own, [(caller("+447900000001"), false)]);
    let unnamed = Event::CallArrived(Call { sid: None, caller: caller(RINGS), at: utc("2026-01-10T09:00:00Z") });
    let Step::Decided(decision) = decide(&ann.client, &unnamed, &facts(None)) else { panic!("asks the pool") };
    assert_eq!((decision.texts.len(), decision.counted_call), (0, None));
}

#[test]
fn calls_of_a_client_who_takes_no_texts_count_and_are_told_later() {
    let mut ann = Owner::new("GB");
    ann.client.opted_out = true;
    assert_eq!(ann.rings(RINGS, utc("2026-01-10T09:00:00Z")), None);
    assert_eq!(ann.counted.iter().map(|it| it.told).collect::<Vec<_>>(), [false]);
    for n in 1..4 {
        assert_eq!(ann.rings(RINGS, utc("2026-01-10T09:00:00Z") + TimeDelta::minutes(n)), None);
    }
    ann.client.opted_out = false;
    // The fifth: the second would be told, and the sixth would not.
    assert!(ann.rings(RINGS, utc("2026-01-10T09:20:00Z")).is_some());
}

fn message(caller: Option<E164>) -> VoiceMessage {
    let link = format!("https://onboarding.example.com/voicemail/{}", "x".repeat(43));
    VoiceMessage { recording: "RE1".to_owned(), caller, seconds: Some(62), link: Some(link) }
}

fn decided(client: &Client, message: &VoiceMessage) -> Decision {
    let event = Event::MessageLeft(message.clone());
    let Step::Decided(decision) = decide(client, &event, &facts(None)) else { panic!("asks the pool") };
    *decision
}

#[test]
fn the_owner_is_texted_a_link_to_a_message_once() {
    let ann = Owner::new("GB").client;
    for (caller, begins) in
        [(caller(RINGS), "Voicemail from +447700900123 (1:02)."), (None, "Voicemail from a withheld number (1:02).")]
    {
        let message = message(caller);
        let decision = decided(&ann, &message);
        let [text] = &decision.texts[..] else { panic!("{decision:?}") };
        assert_eq!((text.kind, text.once_key.as_deref()), (TextKind::Voicemail, Some("recording:RE1")));
        assert_eq!(english(text), format!("{begins} Listen within 7 days:\n{}", message.link.clone().unwrap()));
        assert_eq!(segments(&english(text)).count, 1, "{}", english(text));
        assert_eq!(decision.recording.unwrap().link, message.link);
    }
}

/// No link leads to it, so it is deleted at once.
#[test]
fn a_message_that_the_owner_cannot_be_told_of_is_not_kept() {
    let ann = Owner::new("GB").client;
    let told_nothing = [
        Client { opted_out: true, ..ann.clone() },
        Client { unreachable: true, ..ann.clone() },
        Client { state: State::S8FwdConfirm, ..ann.clone() },
        Client { state: State::S6PhoneType, ..ann.clone() },
    ];
    for client in told_nothing {
        let decision = decided(&client, &message(caller(RINGS)));
        assert_eq!((decision.texts, decision.recording.map(|it| it.link)), (Vec::new(), Some(None)), "{client:?}");
    }
    let own = decided(&ann, &message(Some(ann.owner_phone.clone())));
    assert_eq!((own.texts, own.recording.map(|it| it.link)), (Vec::new(), Some(None)), "the owner's own");
}
