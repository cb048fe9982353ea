//! Links and suggestions, found in the words of a text alone. The stand-in knows no state of the conversation.

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Words, shown as they are.
    Words(String),
    /// A phone number.
    Number(String),
    /// A code to dial that sets forwarding, and the number in it.
    Code(String, String),
    /// A payment link, and its query.
    Payment(String, String),
}

/// Splits the words of a text into parts, which together have the same words.
pub(super) fn parts(body: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut words = String::new();
    for token in body.split_inclusive(char::is_whitespace) {
        let trimmed = token.trim_end_matches(|it: char| it.is_whitespace() || ".,;:!?".contains(it));
        match link(trimmed) {
            None => words.push_str(token),
            Some(link) => {
                if !words.is_empty() {
                    parts.push(Part::Words(std::mem::take(&mut words)));
                }
                parts.push(link);
                words.push_str(&token[trimmed.len()..]);
            }
        }
    }
    if !words.is_empty() {
        parts.push(Part::Words(words));
    }
    parts
}

fn link(word: &str) -> Option<Part> {
    if is_number(word) {
        return Some(Part::Number(word.to_owned()));
    }
    if let Some(number) = forwarded_by(word) {
        return Some(Part::Code(word.to_owned(), number));
    }
    // Only the stand-in's own payment page opens: no other host is ever linked to.
    let address = word.strip_prefix("http://").or_else(|| word.strip_prefix("https://"))?;
    let query = address.split_once('/')?.1.strip_prefix("pay?")?;
    Some(Part::Payment(word.to_owned(), query.to_owned()))
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit())
}

/// Returns the number that a code such as `**61*+447111111111#` or `*61*07111111111#` forwards to, E.164.
pub(super) fn forwarded_by(code: &str) -> Option<String> {
    let inner = code.strip_prefix('*')?.trim_start_matches('*').strip_suffix('#')?;
    let (service, number) = inner.split_once('*')?;
    // 61: unanswered; 67: busy; 62: out of reach; 004: all three.
    let is_forwarding = ["61", "62", "67", "004"].contains(&service);
    let number = match number.strip_prefix("00") {
        Some(rest) => format!("+{rest}"),
        None => number.strip_prefix('0').map_or_else(|| number.to_owned(), |rest| format!("+44{rest}")),
    };
    (is_forwarding && is_number(&number)).then_some(number)
}

/// A reply that a text proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suggestion {
    /// The text to send.
    pub(super) body: String,
    /// The words of the button.
    pub(super) label: String,
}

/// Returns the replies that a text itself proposes: `Reply YES`, `reply DONE`, `1 iPhone`, `For example: Plumber from London`.
pub(super) fn suggestions(body: &str) -> Vec<Suggestion> {
    let mut found: Vec<Suggestion> = Vec::new();
    let mut add = |body: &str, label: &str| {
        if !body.is_empty() && found.iter().all(|it| it.body != body) {
            found.push(Suggestion { body: body.to_owned(), label: label.to_owned() });
        }
    };
    for line in body.lines() {
        if let Some((digit, name)) = line.split_once(' ').filter(|(digit, _)| is_choice(digit)) {
            add(digit, &format!("{digit} {name}"));
        }
        if let Some((_, example)) = line.split_once("For example: ") {
            add(example.trim(), example.trim());
        }
        for (start, _) in line.match_indices("eply ") {
            let word = line[start + 5..].split(|it: char| !it.is_ascii_alphanumeric()).next().unwrap_or_default();
            if word.len() > 1 && word.bytes().all(|it| it.is_ascii_uppercase()) {
                add(word, word);
            }
        }
    }
    found
}

fn is_choice(word: &str) -> bool {
    word.len() == 1 && word.bytes().all(|it| it.is_ascii_digit())
}

/// Returns what a caller hears of a response to the webhook of a call.
pub(super) fn heard(answer: &crate::Answer) -> String {
    const FAULT: &str = "We are sorry, an application error has occurred. Goodbye.";
    let body = answer.body.trim();
    let is_twiml = answer.content_type.contains("xml") && body.contains("<Response");
    if !(200..300).contains(&answer.status) || !is_twiml {
        return FAULT.to_owned();
    }
    let mut heard = Vec::new();
    for verb in body.split('<').skip(1) {
        let (tag, words) = verb.split_once('>').unwrap_or((verb, ""));
        match tag.split(|it: char| it.is_whitespace() || it == '/').next().unwrap_or_default() {
            "Say" => heard.push(unescaped(words)),
            "Play" => heard.push("(a recording)".to_owned()),
            "Record" => heard.push("(the tone)".to_owned()),
            "Dial" => heard.push("(the call is put through)".to_owned()),
            "Reject" => heard.push("(the engaged tone)".to_owned()),
            _ => {}
        }
    }
    if heard.is_empty() { "(nothing, and the call ends)".to_owned() } else { heard.join(" ") }
}

fn unescaped(xml: &str) -> String {
    let plain = xml.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    plain.replace("&amp;", "&").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;

    fn links(body: &str) -> Vec<Part> {
        parts(body).into_iter().filter(|part| !matches!(part, Part::Words(_))).collect()
    }

    fn words(part: &Part) -> &str {
        match part {
            Part::Words(shown) | Part::Number(shown) | Part::Code(shown, _) | Part::Payment(shown, _) => shown,
        }
    }

    #[test]
    fn links_are_found_and_no_word_is_lost() {
        let number = || "+447111111111".to_owned();
        for (body, expected) in [
            ("Your JobRun number is +447111111111.\n\nWhich?", vec![Part::Number(number())]),
            ("dial:\n**61*+447111111111#\n", vec![Part::Code("**61*+447111111111#".to_owned(), number())]),
            ("dial:\n*67*07111111111#", vec![Part::Code("*67*07111111111#".to_owned(), number())]),
            (
                "here:\nhttp://127.0.0.1:8090/pay?client_reference_id=a_1\n\nReply",
                vec![Part::Payment(
                    "http://127.0.0.1:8090/pay?client_reference_id=a_1".to_owned(),
                    "client_reference_id=a_1".to_owned(),
                )],
            ),
            ("see https://example.com/pays?x and https://buy.stripe.com/test_1 *61*12# +44 #", vec![]),
            ("<script>alert(1)</script> \u{202e}+44 711", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(links(body), expected, "{body}");
            assert_eq!(parts(body).iter().map(words).collect::<String>(), body);
        }
    }

    #[test]
    fn suggestions_are_those_that_the_text_makes() {
        let bodies = |body: &str| suggestions(body).into_iter().map(|it| it.body).collect::<Vec<_>>();
        assert_eq!(bodies("Where?\n\nFor example: Plumber from London"), ["Plumber from London"]);
        assert_eq!(bodies("Which?\n1 iPhone\n2 Android\n3 Landline\n\nReply 1, 2 or 3"), ["1", "2", "3"]);
        assert_eq!(bodies("Done? Reply DONE"), ["DONE"]);
        assert_eq!(bodies("Reply READY once you've confirmed.\nReply READY"), ["READY"]);
        assert_eq!(bodies("There's no need to reply. 1. Open Phone app"), [""; 0]);
    }

    #[test]
    fn a_caller_hears_the_words_of_the_response() {
        let answer = |status, content_type: &str, body: &str| {
            heard(&Answer { status, content_type: content_type.to_owned(), body: body.to_owned() })
        };
        let said =
            "<?xml version=\"1.0\"?><Response><Say language=\"en-GB\">Fish &amp; chips</Say><Hangup/></Response>";
        assert_eq!(answer(200, "text/xml", said), "Fish & chips");
        assert_eq!(answer(200, "text/xml", "<Response/>"), "(nothing, and the call ends)");
        assert_eq!(answer(200, "text/xml", "<Response><Reject/></Response>"), "(the engaged tone)");
        for (status, content_type, body) in [(503, "text/xml", said), (200, "text/html", said), (200, "text/xml", "no")]
        {
            assert!(answer(status, content_type, body).contains("application error"), "{status} {content_type}");
        }
    }
}
