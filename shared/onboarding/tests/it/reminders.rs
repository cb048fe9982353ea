//! Reminders: who gets them, when, and in which words.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use jobrun_onboarding::quiet_hours::QuietHours;
use jobrun_onboarding::reminders::{Next, Reminder, Schedule, Silence, next};
use jobrun_onboarding::segments::segments;
use jobrun_onboarding::{
    Client, Collected, Decision, Event, Exchange, Facts, Payment, PhoneType, State, Step, Takeover, TextKind, decide,
};
use proptest::prelude::*;

use crate::rules::{a_client, number};
use crate::{client_at, english, facts};

fn schedule() -> Schedule {
    let hour = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    Schedule {
        after: vec![TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::days(3)],
        quiet: Some(QuietHours { from: hour(20), to: hour(8) }),
        has_cases: true,
    }
}

/// A winter's noon in London.
fn noon() -> DateTime<Utc> {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

fn silent() -> Silence {
    Silence {
        since: noon(),
        has_written: true,
        is_unread: false,
        case_open: false,
        last_said: None,
        payment_asked: false,
        number_held: false,
        reminded: 0,
        reminded_at: None,
    }
}

fn hours(hours: i64) -> DateTime<Utc> {
    noon() + TimeDelta::hours(hours)
}

fn next_at(client: &Client, silence: &Silence, now: DateTime<Utc>) -> Next {
    next(client, "GB", silence, &schedule(), now)
}

fn due(client: &Client, silence: &Silence, now: DateTime<Utc>) -> Option<Reminder> {
    if let Next::Remind(reminder) = next_at(client, silence, now) { Some(reminder) } else { None }
}

fn decided(client: &Client, reminder: &Reminder, now: DateTime<Utc>) -> Decision {
    match decide(client, &Event::ReminderDue(reminder.clone()), &Facts { now, ..facts(None) }) {
        Step::Decided(decision) => *decision,
        Step::AskPool => panic!("a reminder takes no number"),
    }
}

/// Plays sweeps every ten minutes for `days`, and returns when each reminder was written, and its words.
fn play(client: &Client, region: &str, mut silence: Silence, days: i64) -> Vec<(DateTime<Utc>, String)> {
    let mut said = Vec::new();
    for minutes in (0..days * 24 * 60).step_by(10) {
        let now = silence.since + TimeDelta::minutes(minutes);
        if let Next::Remind(reminder) = next(client, region, &silence, &schedule(), now) {
            for text in decided(client, &reminder, now).texts {
                silence.reminded += 1;
                silence.reminded_at = Some(now);
                said.push((now, english(&text)));
            }
        }
    }
    said
}

#[test]
fn a_silent_client_is_reminded_after_an_hour_a_day_and_three_days_and_then_no_more() {
    let client = client_at(State::S2BusinessName);
    let said = play(&client, "GB", silent(), 30);
    let times: Vec<i64> = said.iter().map(|(at, _)| (*at - noon()).num_hours()).collect();
    assert_eq!(times, [1, 24, 72]);
    assert!(said.iter().all(|(_, words)| words.contains("What's the name of your business?")), "{said:?}");
    assert!(said[2].1.contains("we won't remind you again"), "{said:?}");
    assert!(!said[1].1.contains("we won't remind you again"), "{said:?}");
    let Next::LookAgain(at) = next_at(&client, &silent(), hours(0)) else { panic!("nothing is due at once") };
    assert_eq!(at, hours(1));
}

#[test]
fn a_reminder_that_is_due_at_night_comes_in_the_morning_and_the_next_keeps_its_distance() {
    let evening = Silence { since: hours(7), ..silent() };
    let said = play(&client_at(State::S3OwnerName), "GB", evening, 10);
    let times: Vec<String> = said.iter().map(|(at, _)| at.format("%d %H:%M").to_string()).collect();
    assert_eq!(times, ["11 08:00", "12 08:00", "14 08:00"], "an hour after 19:00 it is night");
}

#[test]
fn a_reminder_that_is_late_is_sent_alone_and_one_that_is_days_late_never() {
    let client = client_at(State::S2BusinessName);
    let first = due(&client, &silent(), hours(46)).unwrap();
    assert_eq!((first.nth, first.is_last), (1, false), "no sweep ran for two days");
    let reminded = Silence { reminded: 1, reminded_at: Some(hours(46)), ..silent() };
    assert_eq!(next_at(&client, &reminded, hours(47)), Next::LookAgain(hours(46 + 23)));
    let after_an_outage = due(&client, &silent(), hours(51)).map(|it| it.nth);
    assert_eq!(after_an_outage, Some(2), "the first is left out, and the second follows");
    let reminded = Silence { reminded: 1, reminded_at: Some(hours(51)), ..silent() };
    assert_eq!(next_at(&client, &reminded, hours(52)), Next::LookAgain(hours(51 + 48)));
    assert_eq!(due(&client, &reminded, hours(51 + 48)).map(|it| it.nth), Some(3), "each once");
    assert_eq!(next_at(&client, &silent(), hours(24 * 20)), Next::Never, "a sign-up of long ago");
}

#[test]
fn clients_who_wait_for_us_are_looked_at_again_and_others_are_left_alone() {
    let now = hours(1);
    let again = Next::LookAgain(hours(2));
    let paid = Client { payment_active: true, ..client_at(State::S5ConfirmLive) };
    let said = |kind| Silence { last_said: Some(kind), ..silent() };
    assert_eq!(next_at(&paid, &said(TextKind::AtCapacity), now), again, "waits for a number");
    assert_eq!(next_at(&paid, &said(TextKind::NumberReady), now), again, "the offer has passed on");
    let held = Silence { number_held: true, ..said(TextKind::NumberReady) };
    assert!(due(&paid, &held, now).is_some(), "a number is held");
    let debit = Client { payment: Payment::Awaited, ..client_at(State::S5ConfirmLive) };
    assert_eq!(next_at(&debit, &said(TextKind::PaymentRequired), now), again, "the payment is on its way");
    let takeover = Takeover { by: "ada".to_owned(), last_at: noon(), silence_minutes: None };
    let taken = Client { takeover: Some(takeover), ..client_at(State::S2BusinessName) };
    assert_eq!(next_at(&taken, &silent(), now), again, "an operator speaks with it");
    let unread = Silence { is_unread: true, ..silent() };
    assert_eq!(next_at(&client_at(State::S2BusinessName), &unread, now), again, "its text is not read yet");
    let asked = Silence { case_open: true, ..said(TextKind::OfferPerson) };
    assert_eq!(next_at(&client_at(State::S2BusinessName), &asked, now), again, "a person has to answer it");
    assert!(due(&client_at(State::S2BusinessName), &said(TextKind::OfferPerson), now).is_some(), "it was answered");

    let never = |client: &Client, silence: &Silence| assert_eq!(next_at(client, silence, now), Next::Never);
    let asked = client_at(State::S2BusinessName);
    for kind in [TextKind::Closing, TextKind::WhoWeAre, TextKind::NoNumbersThere] {
        never(&asked, &said(kind));
    }
    never(&client_at(State::Complete), &silent());
    never(&Client { opted_out: true, ..asked.clone() }, &silent());
    never(&Client { unreachable: true, ..asked.clone() }, &silent());
    never(&Client { payment: Payment::Ended, ..client_at(State::S5ConfirmLive) }, &silent());
    never(&asked, &Silence { has_written: false, ..silent() });
    assert_eq!(next(&asked, "ZZ", &silent(), &schedule(), now), Next::Never, "its night is not known");
    let off = Schedule { after: Vec::new(), ..schedule() };
    assert_eq!(next(&asked, "GB", &silent(), &off, now), Next::Never);
    let needs_time = said(TextKind::NoHurry);
    assert_eq!(due(&client_at(State::S5ConfirmLive), &needs_time, hours(23)), None, "said that it needs time");
    let said = play(&client_at(State::S5ConfirmLive), "GB", needs_time, 9);
    let times: Vec<i64> = said.iter().map(|(at, _)| (*at - noon()).num_hours()).collect();
    assert_eq!(times, [24, 72]);
    assert!(said[1].1.contains("we won't remind you again"), "{said:?}");
}

#[test]
fn the_words_fit_the_state_and_what_was_said_last() {
    let phone = |phone_type| Collected { phone_type: Some(phone_type), ..Collected::default() };
    let with_number = |state, collected| Client {
        payment_active: true,
        payment: Payment::Active,
        number: Some(number()),
        collected,
        ..client_at(state)
    };
    let words = |client: &Client, last_said| {
        let payment_asked = last_said == Some(TextKind::PaymentRequired);
        let silence = Silence { last_said, payment_asked, number_held: true, ..silent() };
        play(client, "GB", silence, 1).remove(0).1
    };
    let fits = |client: &Client, last_said, part: &str| {
        let words = words(client, last_said);
        assert!(words.starts_with("Hi from JobRun! Shall we carry on?\n\n") && words.contains(part), "{part}: {words}");
    };
    fits(&client_at(State::S1BusinessTypeLocation), Some(TextKind::Welcome), "What's your trade");
    let half = Collected { business_type_location: Some("Plumber".to_owned()), ..Collected::default() };
    let half = Client { collected: half, ..client_at(State::S1BusinessTypeLocation) };
    fits(&half, Some(TextKind::AskOtherHalf), "where do you work?");
    fits(&client_at(State::S5ConfirmLive), Some(TextKind::AskConfirmLive), "Reply YES");
    fits(&client_at(State::S5ConfirmLive), Some(TextKind::PaymentRequired), "https://pay");
    let offered = Client { payment_active: true, ..client_at(State::S5ConfirmLive) };
    fits(&offered, Some(TextKind::NumberReady), "Reply READY to continue");
    fits(&with_number(State::S6PhoneType, Collected::default()), Some(TextKind::AskPhoneType), "Reply 1, 2 or 3");
    let named = with_number(State::S6PhoneType, phone(PhoneType::Android));
    fits(&named, None, "**61*+447111111111#");
    fits(&named, None, "Another phone? Reply 1 for iPhone");
    let android = with_number(State::S7FwdSent, phone(PhoneType::Android));
    fits(&android, Some(TextKind::ForwardingInstructions), "**61*+447111111111#");
    fits(&android, Some(TextKind::ForwardAnotherWay), "**62*+447111111111#");
    fits(&with_number(State::S8FwdConfirm, phone(PhoneType::Android)), None, "ring your usual number");
    fits(&with_number(State::S9TestCall, phone(PhoneType::Android)), None, "ring your usual number");
}

#[test]
fn the_operator_hears_of_an_unused_number_a_day_after_the_last_reminder() {
    let client = Client { number: Some(number()), payment_active: true, ..client_at(State::S7FwdSent) };
    let last = due(&client, &Silence { reminded: 2, reminded_at: Some(hours(24)), ..silent() }, hours(72)).unwrap();
    let with_it = decided(&client, &last, hours(72));
    assert_eq!((last.is_last, with_it.texts.len(), with_it.concern), (true, 1, None), "the client may still answer");
    let reminded = Silence { reminded: 3, reminded_at: Some(hours(73)), ..silent() };
    assert_eq!(next_at(&client, &reminded, hours(74)), Next::LookAgain(hours(73 + 24)));
    assert_eq!(next_at(&client, &reminded, hours(73 + 24)), Next::ReportUnfinished);
    let again = Next::LookAgain(hours(73 + 24 + 1));
    let unread = Silence { is_unread: true, ..reminded.clone() };
    assert_eq!(next_at(&client, &unread, hours(73 + 24)), again, "its text is not read yet");
    let takeover = Takeover { by: "ada".to_owned(), last_at: noon(), silence_minutes: None };
    let taken = Client { takeover: Some(takeover), ..client.clone() };
    assert_eq!(next_at(&taken, &reminded, hours(73 + 24)), again, "an operator speaks with it");
    let left_out = Silence { reminded: 1, reminded_at: Some(hours(1)), ..silent() };
    assert_eq!(next_at(&client, &left_out, hours(24 * 10)), Next::ReportUnfinished, "no worker ran for days");
    let without = Client { number: None, ..client_at(State::S2BusinessName) };
    assert_eq!(next_at(&without, &reminded, hours(73 + 24)), Next::Never, "it has no number");
    let live = Client { state: State::Complete, ..client };
    assert_eq!(next_at(&live, &reminded, hours(73 + 24)), Next::Never);
}

#[test]
fn the_operator_hears_of_an_unused_number_also_if_its_client_is_not_reminded() {
    let client = Client { number: Some(number()), payment_active: true, ..client_at(State::S7FwdSent) };
    let is_reported = |client: &Client, region: &str, silence: &Silence, schedule: &Schedule| {
        let at = |hour| next(client, region, silence, schedule, hours(hour));
        assert_eq!(at(95), Next::LookAgain(hours(96)), "four days of silence");
        assert_eq!(at(96), Next::ReportUnfinished);
    };
    let said = |kind| Silence { last_said: Some(kind), ..silent() };
    let off = Schedule { after: Vec::new(), ..schedule() };
    is_reported(&client, "GB", &silent(), &off);
    is_reported(&client, "ZZ", &silent(), &schedule());
    is_reported(&Client { unreachable: true, ..client.clone() }, "GB", &silent(), &schedule());
    is_reported(&Client { opted_out: true, ..client.clone() }, "GB", &silent(), &schedule());
    is_reported(&client, "GB", &said(TextKind::Closing), &schedule());
    let never_wrote = Silence { has_written: false, ..silent() };
    assert_eq!(next_at(&client, &never_wrote, hours(24 * 10)), Next::Never, "made by hand");
    let again = Next::LookAgain(hours(97));
    let takeover = Takeover { by: "ada".to_owned(), last_at: noon(), silence_minutes: None };
    let out = Client { opted_out: true, ..client };
    assert_eq!(next_at(&Client { takeover: Some(takeover), ..out.clone() }, &silent(), hours(96)), again);
    assert_eq!(next_at(&out, &Silence { is_unread: true, ..silent() }, hours(96)), again, "it may be START");
}

#[test]
fn a_reminder_is_left_out_if_it_comes_too_late_or_the_client_has_moved_on() {
    let client = client_at(State::S2BusinessName);
    let reminder = due(&client, &silent(), hours(1)).unwrap();
    let says = |client: &Client, now| decided(client, &reminder, now).texts.len();
    assert_eq!(says(&client, hours(1)), 1);
    assert_eq!(says(&client, hours(2)), 0, "it could leave at night");
    let exchange = Exchange { asked_at: Some(hours(1)), ..Exchange::default() };
    assert_eq!(says(&Client { exchange, ..client.clone() }, hours(1)), 0, "it has answered");
    assert_eq!(says(&Client { opted_out: true, ..client }, hours(1)), 0);
}

#[test]
fn a_reminder_of_a_short_question_is_one_segment() {
    for state in [State::S2BusinessName, State::S3OwnerName, State::S4NotificationPref, State::S5ConfirmLive] {
        let said = play(&client_at(state), "GB", silent(), 2);
        assert_eq!(said.len(), 2);
        assert!(said.iter().all(|(_, words)| segments(words).count == 1), "{said:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// At every place of a client, on each day of a year: at most one reminder of a kind, none at night, none to a client who may
    /// not be reminded.
    #[test]
    fn nobody_is_reminded_twice_or_at_night_or_against_its_wish(
        client in a_client(),
        region in prop::sample::select(vec!["GB", "US", "AU", "PT"]),
        minutes in 0..366 * 24 * 60_i64,
        last_said in prop::option::of(prop::sample::select(TextKind::ALL.to_vec())),
    ) {
        let since = noon() + TimeDelta::minutes(minutes);
        let said = play(&client, region, Silence { since, last_said, ..silent() }, 9);
        prop_assert!(said.len() <= 3);
        let may_not = client.opted_out || client.unreachable || client.state == State::Complete
            || client.payment == Payment::Ended || last_said == Some(TextKind::Closing);
        prop_assert!(said.is_empty() || !may_not);
        for (at, _) in said {
            // The text leaves within an hour, or is dropped.
            for minutes in [0, 30, 60] {
                let leaves = at + TimeDelta::minutes(minutes);
                let zones: &[chrono_tz::Tz] = match region {
                    "GB" => &[chrono_tz::Europe::London],
                    "US" => &[chrono_tz::America::New_York, chrono_tz::Pacific::Honolulu],
                    "AU" => &[chrono_tz::Australia::Sydney, chrono_tz::Australia::Perth],
                    _ => &[chrono_tz::Europe::Lisbon, chrono_tz::Atlantic::Azores],
                };
                for zone in zones {
                    let local = leaves.with_timezone(zone).time();
                    let hour = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
                    prop_assert!(hour(8) <= local && local < hour(20), "{zone} {local}");
                }
            }
        }
    }
}
