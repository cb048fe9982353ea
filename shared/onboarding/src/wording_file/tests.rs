//! The built-in wordings hold, an operator's file changes them, and each fault of a file is named.

use super::*;
use crate::calls::{CallsToday, Day, EarlierCall};
use crate::{E164, PhoneType, Text, wording};

fn written(words: impl Into<crate::words::Words>) -> String {
    Wordings::built_in().of_region("UK").write(&words.into())
}

/// Returns the faults of a file that has these lines after the language.
fn faults(lines: &str) -> Vec<String> {
    let file = format!("language = \"en-GB\"\n{lines}");
    let faults = Wordings::with_file(&file).err().unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn the_built_in_file_is_complete_and_each_limit_is_what_the_longest_values_take() {
    complete(EN_GB).unwrap();
    let all = Wordings::built_in().previews(Language::EnGb).into_iter();
    let other: Vec<_> =
        all.filter(|it| it.segments_max != it.limit).map(|it| (it.name, it.segments_max, it.limit)).collect();
    assert_eq!(other, []);
}

#[test]
fn the_built_in_file_has_no_fault_by_the_rules_for_an_operator_s_file() {
    let same = Wordings::with_file(EN_GB).unwrap();
    assert_eq!(&same, Wordings::built_in());
    assert!(same.previews(Language::EnGb).iter().all(|it| !it.is_changed));
}

#[test]
fn names_are_unique_and_in_the_order_of_the_built_in_file() {
    let headings: Vec<&str> = EN_GB.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')).collect();
    assert_eq!(headings, Name::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
}

#[test]
fn every_placeholder_of_the_built_in_file_has_example_values() {
    for it in Wordings::built_in().previews(Language::EnGb) {
        assert!(it.placeholders.iter().all(|it| examples::is_known(it)), "{:?}", it.placeholders);
        assert!(!it.body.contains('{'), "{}", it.body);
    }
}

#[test]
fn every_wording_but_those_with_links_or_other_wordings_in_them_is_one_segment_unless_it_cannot_be() {
    let long = [
        Name::ForwardIPhone,
        Name::ForwardIPhoneAnotherWay,
        Name::ForwardAndroidAnotherWay,
        Name::ForwardLandlineAnotherWay,
        Name::ForwardOnThree,
        Name::ForwardOnHost,
        Name::ForwardOnGuest,
        Name::ForwardOnUnknownNetwork,
        Name::ForwardingBroken,
        Name::ForwardingBrokenLandline,
    ];
    let holds_more = |placeholder: &String| {
        ["payment_link", "portal", "question", "next_step", "instructions", "business"].contains(&placeholder.as_str())
    };
    for it in Wordings::built_in().previews(Language::EnGb) {
        let is_short = !long.contains(&it.name) && !it.placeholders.iter().any(holds_more);
        assert!(!is_short || it.segments_max == 1, "{}", it.name.as_str());
    }
}

#[test]
fn a_wording_of_the_operator_takes_the_place_of_ours_and_the_others_stay() {
    let file = "language = \"en-GB\"\n[welcome]\ntext = \"\"\"\nHello!\n\nWhat's your trade, and where?\n\"\"\"\n";
    for file in [file.to_owned(), file.replace('\n', "\r\n"), format!("\u{feff}{file}")] {
        let changed = Wordings::with_file(&file).unwrap();
        for region in ["UK", "GB", "uk", "IE", ""] {
            let wording = changed.of_region(region);
            assert_eq!(wording.write(&wording::welcome().words), "Hello!\n\nWhat's your trade, and where?", "{region}");
            assert_eq!(wording.write(&wording::live().words), written(Name::Live));
        }
        let of_operator: Vec<Name> =
            changed.previews(Language::EnGb).into_iter().filter(|it| it.is_changed).map(|it| it.name).collect();
        assert_eq!(of_operator, [Name::Welcome]);
    }
    assert_eq!(Wordings::with_file("language = \"en-GB\"").as_ref(), Ok(Wordings::built_in()));
}

#[test]
fn a_changed_question_is_asked_in_every_text_that_has_it() {
    let changed = Wordings::with_file("language = \"en-GB\"\n[owner_name_again]\ntext = \"And you are?\"").unwrap();
    let body = |text: Text| text.write(changed.of_region("UK")).body;
    let question = Text { words: Name::OwnerNameAgain.into(), ..wording::ask_owner_name() };
    assert!(body(wording::too_long(&question)).ends_with("100 characters.\n\nAnd you are?"));
    assert!(body(wording::terms(question.words)).ends_with("\n\nAnd you are?"));
}

/// The words for a count, a day and times are wordings of their own, so that each has its place in every language.
#[test]
fn the_words_about_the_calls_of_a_day_can_be_changed() {
    let file = "language = \"en-GB\"\n[calls_twice]\ntext = \"2x\"\n[calls_times]\ntext = \"{count}x\"\n[calls_over]\ntext = \"> {limit}\"\n\
                [calls_today]\ntext = \"this day\"\n[calls_in_24_hours]\ntext = \"within a day\"\n[calls_at]\ntext = \" ({times}; {last})\"\n\
                [calls_from_to]\ntext = \" ({first}-{last})\"\n[calls_last_at]\ntext = \" (-{last})\"";
    let changed = Wordings::with_file(file).unwrap();
    let caller = E164::parse("+447700900123").unwrap();
    let at: chrono::DateTime<chrono::Utc> = "2026-01-10T12:00:00Z".parse().unwrap();
    let told = |region, count: i32, caller: Option<&E164>| {
        let earlier = (1..count).rev().map(|n| EarlierCall {
            at: at - chrono::TimeDelta::minutes(n.into()),
            told: true,
            texted_back: false,
        });
        let calls = CallsToday::new(Day::of(region), &earlier.collect::<Vec<_>>(), at);
        let text = caller.map_or_else(|| wording::withheld_call(&calls), |caller| wording::missed_call(caller, &calls));
        text.write(changed.of_region("GB")).body
    };
    let again = |words: &str| format!("Missed call: +447700900123 rang again: {words}.");
    assert_eq!(told("GB", 2, Some(&caller)), again("2x this day (11:59; 12:00)"));
    assert_eq!(told("GB", 3, Some(&caller)), again("3x this day (11:58, 11:59; 12:00)"));
    assert_eq!(told("GB", 11, Some(&caller)), again("11x this day (11:50-12:00)"));
    assert_eq!(told("GB", 101, Some(&caller)), again("> 100x this day (-12:00)"));
    assert_eq!(told("ZZ", 2, Some(&caller)), again("2x within a day"));
    assert_eq!(told("GB", 3, None), "Missed calls: 3 calls this day from withheld numbers (11:58, 11:59; 12:00).");

    for (lines, found) in [
        (
            "[calls_times]\ntext = \"{n} times\"",
            [
                "line 3: calls_times lacks the placeholder {count}",
                "line 3: calls_times has the placeholder {n}, which does not exist",
            ],
        ),
        (
            "[calls_at]\ntext = \", at {times} and {caller}\"",
            [
                "line 3: calls_at lacks the placeholder {last}",
                "line 3: calls_at has the placeholder {caller}, which it is given no value for",
            ],
        ),
    ] {
        assert_eq!(faults(lines), found, "{lines}");
    }
    let long = faults(&format!("[calls_in_24_hours]\ntext = \"{}\"", "w".repeat(120)));
    assert!(long.iter().any(|it| it.starts_with("missed_call_again takes 2 segments")), "{long:?}");
}

#[test]
fn the_specified_texts_cannot_be_changed() {
    for name in [Name::PaymentRequired, Name::AtCapacity, Name::ForwardIPhone, Name::AssigningNumber] {
        let name = name.as_str();
        assert_eq!(
            faults(&format!("[{name}]\ntext = \"Hi {{number}} {{payment_link}}\"")),
            [format!("line 3: {name} is specified to the letter, and cannot be changed")]
        );
    }
    assert_eq!(
        faults(
            "[assigning_number]\ntext = \"\"\"\nWe're assigning your JobRun number now.\n\nThis usually takes a moment.\n\nReply READY in 1 minute to continue.\"\"\""
        ),
        [""; 0],
        "the same words"
    );
}

#[test]
fn each_fault_is_named_with_its_line_and_its_wording() {
    let long = "w".repeat(161);
    for (lines, fault) in [
        ("[wellcome]\ntext = \"Hi\"", "line 2: wellcome is not the name of a wording"),
        ("welcome = \"Hi\"", "line 2: welcome is not a table, such as [welcome]"),
        ("[welcome]", "line 2: welcome has no text in quotes"),
        ("[welcome]\ntext = 5", "line 2: welcome has no text in quotes"),
        (
            "[welcome]\ntext = \"Hi\"\nbody = \"Hi\"",
            "line 4: welcome has an unknown key, body: there are text and segments",
        ),
        ("[welcome]\ntext = \"Hi\"\nsegments = 11", "line 4: welcome has segments that are no number from 1 to 10"),
        ("[welcome]\n\ntext = \" \\n\"", "line 4: welcome is empty"),
        ("[welcome]\ntext = \"Hi\\u0007\"", "line 3: welcome has a control character, \\u{7}"),
        ("[welcome]\ntext = \"Hi\\tthere\"", "line 3: welcome has a control character, \\u{9}"),
        ("[welcome]\ntext = \"Hi\\u202e\"", "line 3: welcome has a control character, \\u{202e}"),
        (
            "[welcome]\ntext = \"Hi {\"",
            "line 3: welcome has a brace that is not part of a placeholder, such as {number}",
        ),
        (
            "[welcome]\ntext = \"Hi {number}\"",
            "line 3: welcome has the placeholder {number}, which it is given no value for",
        ),
        ("[welcome]\ntext = \"Hi {nmber}\"", "line 3: welcome has the placeholder {nmber}, which does not exist"),
        ("[missed_call]\ntext = \"Somebody rang.\"", "line 3: missed_call lacks the placeholder {caller}"),
        ("[payment_failed]\ntext = \"It failed.\"", "line 3: payment_failed lacks the placeholder {payment_link}"),
        (
            "[ask_confirm_live]\ntext = \"Reply YES or STOP\"",
            "line 3: ask_confirm_live asks for STOP, which carriers act on",
        ),
        (
            &format!("[live]\ntext = \"{long}\""),
            "line 3: live takes 2 segments with its longest values, and may take 1",
        ),
    ] {
        assert_eq!(faults(lines), [fault], "{lines}");
    }
    // The library words what follows.
    for (lines, fault) in [
        ("[live]\nsegments = 2\ntext = \"Hi\"\n[live]\ntext = \"Hi\"", "line 5: this is not TOML: "),
        ("[live]\ntext = Hi", "line 3: this is not TOML: "),
    ] {
        let found = faults(lines);
        assert!(matches!(&found[..], [only] if only.starts_with(fault)), "{lines}: {found:?}");
    }
    let unicode = format!("[live]\ntext = \"{}é ‰\"", "w".repeat(70));
    assert_eq!(
        faults(&unicode),
        [
            "line 3: live takes 2 segments of 70 characters (Unicode, because '‰' is not in the GSM alphabet) with its longest \
          values, and may take 1"
        ]
    );
    let one = |file: &str| Wordings::with_file(file).unwrap_err().first().unwrap().to_string();
    assert_eq!(one("language = \"fr-FR\"\n"), "line 1: there is no such language; there is \"en-GB\"");
    assert_eq!(one("[live]\ntext = \"Hi\""), "line 1: the language is missing: language = \"en-GB\"");
}

#[test]
fn all_faults_of_a_file_are_named_at_once_in_the_order_of_its_lines() {
    let file = "[live]\ntext = \"Reply HELP {x}\"\n[wellcome]\ntext = \"\"\n[missed_call]\ntext = \"\"";
    assert_eq!(
        faults(file),
        [
            "line 3: live has the placeholder {x}, which does not exist",
            "line 3: live asks for HELP, which carriers act on",
            "line 4: wellcome is not the name of a wording",
            "line 7: missed_call is empty",
        ]
    );
}

#[test]
fn a_limit_of_the_operator_s_own_goes_before_ours() {
    let long = "w".repeat(161);
    assert_eq!(faults(&format!("[live]\nsegments = 2\ntext = \"{long}\"")), [""; 0]);
    assert_eq!(
        faults("[already_live]\nsegments = 1\ntext = \"Hi\"\n[own_name_will_do]\nsegments = 1\ntext = \"Hi\""),
        [""; 0]
    );
}

#[test]
fn a_question_that_makes_another_text_too_long_is_a_fault_of_that_text() {
    let long = format!("[owner_name_again]\nsegments = 3\ntext = \"{}\"", "w".repeat(400));
    let faults = faults(&long);
    assert!(faults.iter().any(|it| it.starts_with("too_long takes 4 segments with its longest values")), "{faults:?}");
}

#[test]
fn numbers_and_references_are_found_again_in_changed_texts() {
    let changed = |lines: &str| faults(lines).pop().unwrap_or_default();
    for hidden in [
        "[ask_phone_type]\ntext = \"Yours: {number}. Which phone? 1 iPhone 2 Android 3 Landline\"",
        "[forward_android]\ntext = \"Dial **61*{number}# and press call. Done? Reply DONE\"",
        "[forward_landline]\ntext = \"Dial *61*{dialled_number}#\"",
        "[missed_call]\ntext = \"Your JobRun number is {caller} happy?\"",
        "[reminder_first]\ntext = \"Your JobRun number is waiting. {next_step}\"",
    ] {
        assert!(changed(hidden).contains("hides the client's number"), "{hidden}: {}", changed(hidden));
    }
    assert_eq!(changed("[ask_phone_type]\ntext = \"Hooray! Your JobRun number is {number}. 1, 2 or 3?\""), "");
    assert_eq!(changed("[forward_android_another_way]\ntext = \"Dial this and press call:\\n**61*{number}#\""), "");
    let glued = changed("[payment_failed]\ntext = \"Sorry: {payment_link}please\"");
    assert!(glued.contains("hides the client's reference"), "{glued}");
}

#[test]
fn a_text_that_asks_for_a_word_of_the_carriers_is_recognised() {
    for (text, word) in [
        ("Reply STOP", "STOP"),
        ("reply stop to leave", "STOP"),
        ("Reply \"Stop\" to leave", "STOP"),
        ("Text 'help' for help", "HELP"),
        ("Just reply with the word info.", "INFO"),
        ("Reply YES or QUIT", "QUIT"),
        ("Reply YES/END", "END"),
        ("YES, CANCEL", "CANCEL"),
        ("Text back: REVOKE", "REVOKE"),
        ("OPTOUT to opt out", "OPTOUT"),
        ("Send us unsubscribe", "UNSUBSCRIBE"),
        ("Say\nstopall", "STOPALL"),
    ] {
        assert_eq!(carrier_word(text), Some(word), "{text}");
    }
    for fine in [
        "You can cancel any time.",
        "Reply I WANT TO CANCEL MY SUBSCRIPTION, and our team will do it.",
        "We'll text you at the end of the month, and help if you need more info.",
        "Reply YES, and we'll stop.",
        "If that's not for you, there's no need to reply. End of story.",
    ] {
        assert_eq!(carrier_word(fine), None, "{fine}");
    }
}

#[test]
fn the_landline_s_number_is_written_as_it_is_dialled() {
    let number = E164::parse("+447111111111").unwrap();
    for text in [
        wording::forwarding_instructions(PhoneType::Landline, &number),
        wording::forward_another_way(PhoneType::Landline, &number),
    ] {
        assert!(written(text.words).contains("*61*07111111111#"));
    }
}

#[test]
fn the_specified_texts_are_built_in_to_the_letter() {
    let number = E164::parse("+447111111111").unwrap();
    let texts = [
        (
            wording::payment_required("https://buy.stripe.com/test_XXXXX (placeholder)"),
            "Perfect! One last step before we go live.\n\nJobRun costs £29/month (cancel anytime).\n\nTo activate, confirm payment \
             here:\nhttps://buy.stripe.com/test_XXXXX (placeholder)\n\nReply READY once you've confirmed.",
        ),
        (
            wording::no_number_yet(false),
            "We're currently at capacity.\n\nYour payment is confirmed, and you're on our priority list.\n\nWe'll text you within 24 \
             hours when your JobRun number is ready.",
        ),
        (
            wording::forwarding_instructions(PhoneType::IPhone, &number),
            "📱 iPhone Setup (30 seconds)\n\n1. Open Phone app\n2. Tap your profile (top right)\n3. Scroll to \"Call \
             Forwarding\"\n4. Enable \"When Busy or Unanswered\"\n5. Enter this number:\n   +447111111111\n\nDone? Reply DONE",
        ),
        (
            wording::assigning_number(),
            "We're assigning your JobRun number now.\n\nThis usually takes a moment.\n\nReply READY in 1 minute to continue.",
        ),
    ];
    for (text, specified) in texts {
        assert_eq!(written(text.words), specified);
    }
}
