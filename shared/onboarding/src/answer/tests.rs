//! Tests of reading for rules that `tests/answers.txt` does not show one by one.

use super::*;

fn s1(body: &str) -> Option<String> {
    if let Meaning::TradeAndPlace(text) = read(body, State::S1BusinessTypeLocation, None) { Some(text) } else { None }
}

fn s2(body: &str) -> Option<String> {
    if let Meaning::BusinessName(text) = read(body, State::S2BusinessName, None) { Some(text) } else { None }
}

fn s3(body: &str) -> Option<String> {
    if let Meaning::OwnerName(text) = read(body, State::S3OwnerName, None) { Some(text) } else { None }
}

#[test]
fn a_keyword_counts_only_as_the_whole_of_a_text() {
    for body in
        ["STOP", "stop.", " Stop! ", "\"STOP\"", "STOPALL", "unsubscribe", "Cancel", "END", "quit", "REVOKE", "optout"]
    {
        assert_eq!(keyword(body), Some(Keyword::Stop), "{body}");
    }
    for body in ["STOP PLEASE", "please cancel", "Plumber from World's End", "yes", "", "🙂"] {
        assert_eq!(keyword(body), None, "{body}");
    }
    assert_eq!(keyword("Start"), Some(Keyword::Start));
    assert_eq!(keyword("unstop"), Some(Keyword::Start));
    assert_eq!(keyword("INFO"), Some(Keyword::Help));
}

#[test]
fn the_answer_to_s1_needs_a_trade_and_a_place() {
    assert_eq!(s1(" Plumber\n from  London ").as_deref(), Some("Plumber from London"));
    assert!(s1("Plumber, London").is_some());
    for body in ["Hi", "Good morning", "hello there", "Plumber", "", "🙂🙂", "1 2", "Hi plumber", "What is this?"] {
        assert_eq!(s1(body), None, "{body}");
    }
    assert_eq!(s1(&"very long ".repeat(20)), None);
    assert_eq!(read(&"very long ".repeat(20), State::S1BusinessTypeLocation, None), Meaning::TooLong);
}

#[test]
fn two_halves_of_the_answer_to_s1_are_joined_in_either_order() {
    let trade = Half::of("Plumber").unwrap();
    let place = Half::of("Leeds").unwrap();
    assert_eq!((&trade, &place), (&Half::Trade("Plumber".to_owned()), &Half::Place("Leeds".to_owned())));
    let joined = |body, known| read(body, State::S1BusinessTypeLocation, Some(known)).to_string();
    assert_eq!(joined("Leeds", &trade), "trade and place: Plumber, Leeds");
    assert_eq!(joined("from Leeds", &trade), "trade and place: Plumber from Leeds");
    assert_eq!(joined("Plumber", &place), "trade and place: Plumber, Leeds");
    assert_eq!(joined("Electrician in York", &trade), "trade and place: Electrician in York");
    assert_eq!(joined("Plumber", &trade), "trade: Plumber");
    assert_eq!(Half::of("Plumber from London"), None);
}

#[test]
fn names_are_read_and_digits_or_marks_alone_are_no_name() {
    assert_eq!(s2("ABC\tPlumbing").as_deref(), Some("ABC Plumbing"));
    assert!(s2("4U").is_some());
    assert_eq!(s2("???"), None);
    assert_eq!(s3("Seán O'Brien").as_deref(), Some("Seán O'Brien"));
    assert_eq!(s3("42"), None);
}

#[test]
fn an_assent_or_a_no_says_nothing_else() {
    let at_s5 = |body| read(body, State::S5ConfirmLive, None);
    for body in ["YES", "yes please", "Ready", "READY!", "ok", "Yeah go on"] {
        assert_eq!(at_s5(body), Meaning::Yes, "{body}");
    }
    for body in ["no", "Not yet", "later", "ok not now", "sure, later"] {
        assert_eq!(at_s5(body), Meaning::No, "{body}");
    }
    for body in ["yes but what does it cost", "yes?", "what", "", "DONE"] {
        assert!(!matches!(at_s5(body), Meaning::Yes | Meaning::No), "{body}");
    }
}

#[test]
fn a_phone_is_chosen_by_digit_or_by_name() {
    let phone_type = choices::phone_type;
    assert_eq!(phone_type("1"), Some(PhoneType::IPhone));
    assert_eq!(phone_type("1 iPhone"), Some(PhoneType::IPhone));
    assert_eq!(phone_type("2."), Some(PhoneType::Android));
    assert_eq!(phone_type("it's an Android"), Some(PhoneType::Android));
    assert_eq!(phone_type("landline"), Some(PhoneType::Landline));
    for body in ["4", "", "iphone or android", "12", "give me 2 minutes", "I have 1 question", "not an iphone"] {
        assert_eq!(phone_type(body), None, "{body}");
    }
}

#[test]
fn done_sms_and_opting_in_are_recognised_and_negations_are_not() {
    for body in ["DONE", "done!", "All done", "it's done"] {
        assert!(choices::is_done(body), "{body}");
    }
    for body in ["not done", "nearly done", "done?? it says error", ""] {
        assert!(!choices::is_done(body), "{body}");
    }
    assert!(choices::prefers_sms("SMS please"));
    assert!(choices::prefers_sms("by text"));
    for body in ["email", "I don't want texts", "no SMS please, email me"] {
        assert!(!choices::prefers_sms(body), "{body}");
    }
    assert!(asks_back_in("Yes") && asks_back_in("UNSTOP") && !asks_back_in("ready"));
}
