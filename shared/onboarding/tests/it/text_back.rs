//! Tests of the text to the caller of a missed call.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use jobrun_onboarding::calls::{CallHistory, Day, EarlierCall};
use jobrun_onboarding::quiet_hours::QuietHours;
use jobrun_onboarding::segments::segments;
use jobrun_onboarding::text_back::{CALLERS_MAX, CallerFacts, TEXTED_WITHIN, TextBackFacts};
use jobrun_onboarding::{Call, Client, Decision, E164, Event, Facts, State, Step, Takeover, TextKind, caller, decide};

use crate::{client_at, english, facts};

const RINGS: &str = "+447700900123";

const KNOWN: CallerFacts = CallerFacts { may_be_texted: true, texted_callers: 0 };

fn noon() -> DateTime<Utc> {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

/// Returns a client who is live and wants its callers texted back.
fn ann() -> Client {
    let number = E164::parse("+447111111111").ok();
    Client { number, payment_active: true, text_back: true, text_back_asked: true, ..client_at(State::Complete) }
}

fn rules() -> TextBackFacts {
    let at = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    TextBackFacts {
        region: "GB".to_owned(),
        business: "ABC Plumbing".to_owned(),
        quiet: Some(QuietHours { from: at(20), to: at(8) }),
        caller: Some(KNOWN),
    }
}

fn decided(client: &Client, event: &Event, rules: Option<TextBackFacts>, now: DateTime<Utc>) -> Decision {
    decided_after(client, event, rules, now, Vec::new())
}

fn decided_after(
    client: &Client,
    event: &Event,
    rules: Option<TextBackFacts>,
    now: DateTime<Utc>,
    earlier: Vec<EarlierCall>,
) -> Decision {
    let calls = CallHistory { day: Day::of("GB"), is_known: false, earlier };
    let facts = Facts { now, asked_at: now, calls, text_back: rules, ..facts(None) };
    let Step::Decided(decision) = decide(client, event, &facts) else { panic!("asks the pool") };
    *decision
}

fn call(from: &str, at: DateTime<Utc>) -> Event {
    Event::CallArrived(Call { sid: Some("CA1".to_owned()), caller: caller(from), at })
}

fn is_texted(client: &Client, from: &str, rules: TextBackFacts, now: DateTime<Utc>) -> bool {
    let decision = decided(client, &call(from, now), Some(rules), now);
    let counted = decision.counted_call.is_some_and(|call| call.texted_back);
    assert_eq!(counted, decision.caller_text.is_some());
    counted
}

#[test]
fn a_mobile_caller_is_texted_from_the_client_s_own_number_beside_the_news_for_the_owner() {
    let decision = decided(&ann(), &call(RINGS, noon()), Some(rules()), noon());
    let [news] = &decision.texts[..] else { panic!("{decision:?}") };
    assert_eq!(english(news), "Missed call: +447700900123 rang your JobRun number.");
    let sent = decision.caller_text.unwrap();
    assert_eq!((sent.to.as_str(), Some(&sent.from)), (RINGS, ann().number.as_ref()));
    assert_eq!(sent.text.kind, TextKind::TextBack);
    assert_eq!(sent.text.once_key.as_deref(), Some("text-back:c:447700900123:2026-01-10"));
    let body =
        "Sorry we missed you! ABC Plumbing will ring you back. There's no need to reply: this number takes calls only.";
    assert_eq!((english(&sent.text).as_str(), segments(body).count), (body, 1));
}

#[test]
fn a_caller_is_texted_once_a_day_of_the_client_s() {
    let earlier =
        |hours, texted_back| vec![EarlierCall { at: noon() - TimeDelta::hours(hours), told: true, texted_back }];
    let is_texted =
        |earlier| decided_after(&ann(), &call(RINGS, noon()), Some(rules()), noon(), earlier).caller_text.is_some();
    assert!(!is_texted(earlier(1, true)));
    assert!(is_texted(earlier(1, false)), "no text followed from the earlier call");
    assert!(is_texted(earlier(13, true)), "yesterday");
}

#[test]
fn landlines_pagers_and_phones_abroad_are_not_texted() {
    let others = ["+442079460000", "+443300000000", "+447012345678", "+447612345678", "+353851234567", "anonymous"];
    for from in others.into_iter().chain([ann().owner_phone.as_str(), ann().number.unwrap().as_str()]) {
        assert!(!is_texted(&ann(), from, rules(), noon()), "{from}");
    }
    let irish = TextBackFacts { region: "IE".to_owned(), ..rules() };
    assert!(is_texted(&ann(), "+353851234567", irish.clone(), noon()) && !is_texted(&ann(), RINGS, irish, noon()));
}

#[test]
fn no_caller_is_texted_unless_its_client_wants_it_and_rings_back() {
    let ann = ann();
    assert!(is_texted(&ann, RINGS, rules(), noon()));
    let taken = Takeover { by: "ada".to_owned(), last_at: noon(), silence_minutes: None };
    for other in [
        Client { text_back: false, ..ann.clone() },
        Client { payment_active: false, ..ann.clone() },
        Client { number: None, ..ann.clone() },
        Client { opted_out: true, ..ann.clone() },
        Client { unreachable: true, ..ann.clone() },
        Client { takeover: Some(taken), ..ann.clone() },
        Client { forwarding_test: Some(noon() - TimeDelta::minutes(1)), ..ann.clone() },
        Client { forwarding_test: Some(noon() - TimeDelta::minutes(16)), ..ann.clone() },
    ] {
        assert_eq!(decided(&other, &call(RINGS, noon()), Some(rules()), noon()).caller_text, None, "{other:?}");
        let ended = Event::CallEnded(Call { sid: Some("CA2".to_owned()), caller: caller(RINGS), at: noon() });
        assert_eq!(decided(&other, &ended, Some(rules()), noon()).caller_text, None, "{other:?}");
    }
    for state in State::ALL.into_iter().filter(|state| *state != State::Complete) {
        let sent = decided(&Client { state, ..ann.clone() }, &call(RINGS, noon()), Some(rules()), noon()).caller_text;
        assert_eq!(sent, None, "{state:?}");
    }
    assert!(!is_texted(&ann, RINGS, TextBackFacts { business: String::new(), ..rules() }, noon()), "without a name");
    assert_eq!(decided(&ann, &call(RINGS, noon()), None, noon()).caller_text, None, "switched off");
}

#[test]
fn clients_numbers_of_ours_and_the_callers_of_a_busy_day_are_not_texted() {
    let with = |caller| TextBackFacts { caller, ..rules() };
    assert!(!is_texted(&ann(), RINGS, with(None), noon()), "nothing is known of it");
    assert!(!is_texted(&ann(), RINGS, with(Some(CallerFacts { may_be_texted: false, ..KNOWN })), noon()));
    assert!(is_texted(&ann(), RINGS, with(Some(CallerFacts { texted_callers: CALLERS_MAX - 1, ..KNOWN })), noon()));
    assert!(!is_texted(&ann(), RINGS, with(Some(CallerFacts { texted_callers: CALLERS_MAX, ..KNOWN })), noon()));
}

#[test]
fn no_caller_is_texted_at_night_or_long_after_its_call() {
    for (at, texted) in [("07:59", false), ("08:00", true), ("19:50", true), ("19:56", false), ("23:00", false)] {
        let at = format!("2026-01-10T{at}:00Z").parse().unwrap();
        assert_eq!(is_texted(&ann(), RINGS, rules(), at), texted, "{at}");
        assert!(is_texted(&ann(), RINGS, TextBackFacts { quiet: None, ..rules() }, at), "{at}");
    }
    for (after, texted) in [(TEXTED_WITHIN, true), (TEXTED_WITHIN + TimeDelta::seconds(1), false)] {
        let decision = decided(&ann(), &call(RINGS, noon() - after), Some(rules()), noon());
        assert_eq!(decision.caller_text.is_some(), texted, "{after}");
    }
}

fn kinds(decision: &Decision) -> Vec<TextKind> {
    decision.texts.iter().map(|text| text.kind).collect()
}

#[test]
fn a_client_who_goes_live_is_asked_once_after_the_news() {
    let awaits = Client { state: State::S9TestCall, text_back: false, text_back_asked: false, ..ann() };
    let ended = Event::CallEnded(Call { sid: Some("CA1".to_owned()), caller: caller(RINGS), at: noon() });
    let asked = decided(&awaits, &ended, Some(rules()), noon());
    assert_eq!(
        (kinds(&asked), asked.text_back, asked.text_back_asked),
        (vec![TextKind::Live, TextKind::AskTextBack], false, true)
    );
    for other in [
        Client { text_back_asked: true, ..awaits.clone() },
        Client {
            takeover: Some(Takeover { by: "ada".to_owned(), last_at: noon(), silence_minutes: None }),
            ..awaits.clone()
        },
        Client { opted_out: true, ..awaits.clone() },
    ] {
        let decision = decided(&other, &ended, Some(rules()), noon());
        let is_asked = kinds(&decision).contains(&TextKind::AskTextBack);
        assert_eq!((is_asked, decision.text_back_asked), (false, other.text_back_asked), "{other:?}");
    }
    let off = decided(&awaits, &ended, None, noon());
    assert_eq!((kinds(&off), off.text_back_asked), (vec![TextKind::Live], false));
}

#[test]
fn a_live_client_chooses_by_text_at_any_time() {
    let text = |body: &str| Event::Text { body: body.to_owned(), taken_for: None, received_at: noon() };
    for (before, said, after) in [(false, "text back", true), (true, "text back off", false), (true, "TEXT BACK", true)]
    {
        let client = Client { text_back: before, text_back_asked: false, ..ann() };
        let decision = decided(&client, &text(said), Some(rules()), noon());
        assert_eq!(kinds(&decision), [TextKind::TextBackChosen], "{said}");
        assert_eq!((decision.text_back, decision.text_back_asked), (after, true), "{said}");
        let off = decided(&client, &text(said), None, noon());
        assert_eq!((off.text_back, off.text_back_asked), (before, false), "{said}, where it is switched off");
        assert!(!kinds(&off).contains(&TextKind::TextBackChosen));
        let early = Client { state: State::S8FwdConfirm, ..client };
        assert!(!kinds(&decided(&early, &text(said), Some(rules()), noon())).contains(&TextKind::TextBackChosen));
    }
    let refused = decided(&ann(), &text("stop texting me back"), Some(rules()), noon());
    assert!(refused.opt.is_some(), "a refusal stays one");
}
