//! The tables of words that people use, and the functions that split a text into words.

/// Emoji with a meaning, and the word for it. Other emoji have none.
const EMOJI: &[(char, &str)] = &[
    ('👍', "ok"),
    ('👌', "ok"),
    ('🤙', "ok"),
    ('🆗', "ok"),
    ('🙂', ""),
    ('✅', "yes"),
    ('✔', "yes"),
    ('☑', "yes"),
    ('💯', "yes"),
    ('🙌', "yes"),
    ('🙏', "thanks"),
    ('😊', ""),
    ('👎', "no"),
    ('❌', "no"),
    ('🚫', "no"),
    ('✋', "no"),
    ('🛑', "no"),
    ('👋', "hello"),
];

/// Phrases with one meaning that their words alone do not have, and the word for it. Longer ones come first.
const PHRASES: &[(&str, &str)] = &[
    ("dont mind if i do", "yes"),
    ("wouldnt say no", "yes"),
    ("can not wait", "yes"),
    ("lets do this", "yes"),
    ("not a problem", "yes"),
    ("no problem at all", "yes"),
    ("no bother at all", "yes"),
    ("no trouble at all", "yes"),
    ("y e s", "yes"),
    ("ye s", "yes"),
    ("y es", "yes"),
    ("no problems", "yes"),
    ("no problem", "yes"),
    ("no probs", "yes"),
    ("no prob", "yes"),
    ("no bother", "yes"),
    ("no trouble", "yes"),
    ("no issues", "yes"),
    ("no issue", "yes"),
    ("cannot wait", "yes"),
    ("cant wait", "yes"),
    ("cant complain", "ok"),
    ("dont mind", "ok"),
    ("why not", "yes"),
    ("no worries", "thanks"),
    ("of course", "yes"),
    ("go on then", "yes"),
    ("go on", "yes"),
    ("go for it", "yes"),
    ("go ahead", "yes"),
    ("lets go", "yes"),
    ("lets do it", "yes"),
    ("bring it on", "yes"),
    ("crack on", "yes"),
    ("count me in", "yes"),
    ("sounds good", "ok"),
    ("sounds great", "ok"),
    ("suits me", "ok"),
    ("that suits", "ok"),
    ("works for me", "ok"),
    ("happy days", "ok"),
    ("too right", "yes"),
    ("for sure", "yes"),
    // "I'm good" declines as often as it agrees, so its word is "content". The longer phrases with it agree.
    ("im all good to go", "yes"),
    ("im good to go", "yes"),
    ("good to go", "yes"),
    ("im fine with that", "yes"),
    ("im ok with that", "yes"),
    ("im okay with that", "yes"),
    ("im good with that", "yes"),
    ("im happy with that", "yes"),
    ("yes im all good", "yes"),
    ("im all good", "content"),
    ("is it all good", "content"),
    ("its ok thanks", "content"),
    ("its okay thanks", "content"),
    ("its ok thank you", "content"),
    ("thats ok thanks", "content"),
    ("thats okay thanks", "content"),
    ("its fine thanks", "content"),
    ("good for you", "content"),
    ("a good deal", "content"),
    ("a great deal", "content"),
    ("as soon as", "as"),
    ("soon as", "as"),
    ("im good", "content"),
    ("im fine", "content"),
    ("im ok", "content"),
    ("im okay", "content"),
    ("im alright", "content"),
    ("were good", "content"),
    ("were fine", "content"),
    ("have to go", "no"),
    ("got to go", "no"),
    ("need to go", "no"),
    ("gotta go", "no"),
    ("must go", "no"),
    ("not yet", "no"),
    ("not now", "no"),
    ("hold on", "no"),
    ("hang on", "no"),
    ("maybe later", "no"),
    ("changed my mind", "no"),
    ("i phone", "iphone"),
    ("eye phone", "iphone"),
    ("eyephone", "iphone"),
    ("land line", "landline"),
    ("all good", "yes"),
    ("thats it", "ok"),
    ("that will do", "ok"),
    ("thatll do", "ok"),
    ("that works", "ok"),
    ("not calls", ""),
    ("no calls", ""),
    ("dont call me", ""),
    ("dont call", ""),
    ("thats right", "yes"),
    ("please do", "yes"),
    ("do it now", "yes"),
    ("when you are", ""),
    ("s m s", "sms"),
    ("give me a minute", "no"),
    ("give me a sec", "no"),
    ("one minute", "no"),
    ("one sec", "no"),
    ("give me 5", "no"),
    ("let me think", "no"),
    ("think about it", "no"),
    ("in a bit", "no"),
    ("in a while", "no"),
    ("will do", "thanks"),
    ("doing it", "thanks"),
    ("setting it up", "thanks"),
    ("setting up", "thanks"),
    ("payment made", "paid"),
    ("payment sent", "paid"),
    ("payment done", "paid"),
    ("all paid up", "paid"),
    ("done paid", "paid"),
    ("confirmed payment", "paid"),
    ("one plus", "oneplus"),
    ("i fone", "iphone"),
    ("its on", "done"),
    ("set me up", "yes"),
    ("send me the link", "yes"),
    ("send the link", "yes"),
    ("send link", "yes"),
    ("went through", "done"),
];

/// Questions that may follow an answer without changing it.
pub(super) const WHAT_NEXT: &[&str] =
    &["what next", "whats next", "what now", "now what", "whats the next step", "what happens next"];

/// Words that say yes.
#[rustfmt::skip]
pub(super) const YES: &[&str] = &[
    "yes", "y", "ye", "yea", "yeah", "yep", "yup", "yh", "yas", "yess", "yse", "yeh", "yus", "yer", "aye", "ya",
    "sure", "certainly", "absolutely", "definitely", "defo", "deffo", "definately", "confirm", "confirmed", "agreed", "yessir", "yip",
    "affirmative",
    "yez", "yed", "tes", "yew", "yws", "yrs", "tyes",
    "agree", "agrees",
];

/// Words of [`YES`] that agree to a request, and do not say that it is done.
#[rustfmt::skip]
pub(super) const WILLING: &[&str] = &[
    "sure", "certainly", "absolutely", "definitely", "defo", "deffo", "definately", "agreed", "agree", "agrees",
];

/// Words that agree to a question. After instructions they may mean only "I have read this".
#[rustfmt::skip]
pub(super) const AGREES: &[&str] = &[
    "ok", "okay", "okey", "oki", "k", "kk", "ready", "rdy", "redy", "reddy", "fine", "great", "good", "perfect",
    "cool", "lovely", "brilliant", "excellent", "ace", "super", "sweet", "nice", "alright", "alrite", "aight",
    "grand", "sound", "deal",
    "paid", "payed",
    "correct", "indeed",
];

/// Words that say no by themselves. The others of [`NO`] may also begin a complaint: "it won't let me".
#[rustfmt::skip]
pub(super) const PLAIN_NO: &[&str] = &[
    "no", "nope", "nah", "naw", "not", "never", "later", "wait",
];

/// Words that say no, or not now.
#[rustfmt::skip]
pub(super) const NO: &[&str] = &[
    "no", "nope", "nah", "naw", "not", "dont", "never", "cant", "wont", "later", "wait", "cannot", "didnt", "isnt",
    "doesnt", "couldnt",
    "havent", "hasnt", "arent", "wouldnt", "shouldnt",
];

/// Words that postpone.
#[rustfmt::skip]
pub(super) const LATER: &[&str] = &[
    "tomorrow", "tonight", "week", "weekend", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
    "sunday", "month", "payday", "soon",
];

/// Words that accept any way.
#[rustfmt::skip]
pub(super) const ANY_WAY: &[&str] = &[
    "either", "any", "anything", "whatever", "whichever", "easiest", "fussed", "bothered", "easy", "choose",
];

/// Words that may stand beside a plain no.
#[rustfmt::skip]
pub(super) const BESIDE_NO: &[&str] = &[
    "today", "tonight", "tomorrow", "right", "moment", "at", "interested", "yet", "now", "want", "need", "sure",
    "ready", "week", "next", "bit", "in", "sec", "minute", "min", "maybe", "ok", "well", "will", "done", "finished",
    "sorted",
];

/// Words beside an answer that do not change it.
#[rustfmt::skip]
pub(super) const COURTESY: &[&str] = &[
    "please", "pls", "plz", "pleas", "mate", "m8", "pal", "love", "bud", "buddy", "boss", "sir", "bro", "hun", "man",
    "thanks", "thank", "you", "u", "ty", "ta", "cheers", "thx", "thankyou", "very", "much", "so", "the", "a", "an",
    "it", "its", "is", "im", "i", "am", "that", "thats", "this", "then", "now", "just", "to", "for", "me", "my", "do",
    "be", "with", "lets", "let", "all", "x", "xx", "xxx", "lol", "haha", "hi", "hello", "hey", "and", "of", "ill",
    "would", "id", "like", "use", "using", "get", "got", "started", "start", "as", "possible", "asap", "100",
    "percent", "mine", "on", "oh", "well", "happy",
    "want", "go", "going", "ive", "need",
    "by", "thatll", "have", "say",
];

/// Words beside an assent that do not change it.
#[rustfmt::skip]
pub(super) const BESIDE_YES: &[&str] = &[
    "dokey", "dokie", "dokes", "beans", "stuff", "news", "idea", "job", "one", "pleaee", "pleae", "plese", "plase",
    "guys", "live", "set", "give", "number", "proceed", "continue", "forward", "it", "bring", "activate", "join",
    "really", "keen", "ahead", "make", "let", "lads", "team", "jobrun",
];

/// Polite words in a text that goes ahead in a word or two: "go", "do it".
#[rustfmt::skip]
pub(super) const POLITE: &[&str] = &[
    "please", "pls", "plz", "mate", "m8", "pal", "bud", "buddy", "boss", "sir", "bro", "thanks", "thank", "you", "ta",
    "cheers", "then", "now", "lets", "let", "just", "so", "well", "x", "xx", "lol", "haha",
];

/// Phrases that go ahead if only [`POLITE`] words and assents stand beside them.
#[rustfmt::skip]
pub(super) const GOES_AHEAD: &[&str] = &[
    "go", "go go", "go go go", "do it", "do this", "do that", "100", "1000", "100 percent", "im in", "i am in",
];

/// Words that turn an assent into a question or a condition.
#[rustfmt::skip]
pub(super) const BUT: &[&str] = &[
    "but", "if", "what", "how", "when", "why", "who", "where", "after", "once", "before", "until", "unless", "except",
    "tho", "though",
];

/// Words that greet, or ask to join.
#[rustfmt::skip]
pub(super) const GREETINGS: &[&str] = &[
    "hi", "hello", "hey", "hiya", "heya", "hullo", "good", "morning", "afternoon", "evening", "there", "jobrun",
    "join", "joining", "interested", "sign", "signup", "up", "register", "day", "alright", "yo", "greetings", "want",
    "helo",
];

/// Words that only greet.
#[rustfmt::skip]
pub(super) const HELLOS: &[&str] = &[
    "hi", "hello", "hey", "hiya", "heya", "hullo", "morning", "afternoon", "evening", "helo",
];

/// Words for texts as the way to be told.
#[rustfmt::skip]
pub(super) const TEXTS: &[&str] = &[
    "sms", "text", "texts", "txt", "txts", "message", "messages", "msg", "msgs", "texting", "texted", "sns", "smss",
];

/// Words that may stand beside [`TEXTS`] where they are chosen.
#[rustfmt::skip]
pub(super) const BESIDE_TEXTS: &[&str] = &[
    "only", "best", "via", "through", "prefer", "preferred", "preference", "choose", "send", "option", "suits", "suit",
    "works", "work", "easiest", "easier", "better", "if", "are", "will", "can", "we", "us", "either",
    "any", "whatever", "ones", "way", "ideal", "handy", "handier", "always", "please", "reply", "in", "yous",
    "alerts", "notifications", "notification", "mobile", "phone", "definitely", "probably", "think", "rather",
    "number", "here", "alert", "drop", "preferable", "probs", "guess", "suppose", "preferably", "simple", "missed", "about", "them",
];

/// Words for other ways to be told, which we do not offer.
#[rustfmt::skip]
pub(super) const OTHER_WAYS: &[&str] = &[
    "email", "emails", "mail", "whatsapp", "whatsap", "call", "calls", "ring", "app", "telegram", "facebook", "post",
];

/// Words for a phone that is set up as an iPhone is.
#[rustfmt::skip]
pub(super) const IPHONE: &[&str] = &[
    "iphone", "iphones", "apple", "aple", "ios", "iph", "ifone",
];

/// Words for a phone that is set up as an Android phone is: by dialling codes.
#[rustfmt::skip]
pub(super) const ANDROID: &[&str] = &[
    "android", "androids", "droid", "samsung", "sammy", "galaxy", "pixel", "google", "huawei", "oneplus", "motorola",
    "moto", "xiaomi", "redmi", "oppo", "honor", "sony", "xperia", "nokia", "blackberry", "realme", "vivo", "htc",
    "lg", "zte", "fairphone", "doro", "tcl", "alcatel", "poco",
];

/// Words for a landline.
pub(super) const LANDLINE: &[&str] = &["landline", "landlines", "bt", "housephone"];

/// Words that make a landline of the "phone" after them: "house phone".
pub(super) const LANDLINE_PLACES: &[&str] = &["house", "home", "office", "desk", "shop"];

/// Words that may stand beside a digit that chooses.
#[rustfmt::skip]
pub(super) const BESIDE_CHOICE: &[&str] = &[
    "option", "number", "num", "no", "answer", "choice", "choose", "pick", "st", "nd", "rd", "phone", "work", "think",
];

/// Words that say that forwarding is set up.
#[rustfmt::skip]
pub(super) const DONE: &[&str] = &[
    "done", "dun", "doen", "dne", "donne", "doned", "finished", "complete", "completed", "sorted", "set", "setup",
    "activated", "enabled", "working", "works", "forwarded", "dialled", "dialed", "switched", "turned", "finito",
    "did", "dome", "don", "fone",
    "worked", "successful",
    "diverted",
];

/// Words that may stand beside [`DONE`].
#[rustfmt::skip]
pub(super) const BESIDE_DONE: &[&str] = &[
    "up", "ive", "have", "been", "both", "everything", "codes", "code", "forwarding", "call", "calls", "are",
    "should", "mobile", "phone", "diverting", "divert", "in", "place", "think", "has", "by", "was", "set",
    "dusted", "paid",
    "hopefully", "says",
];

/// Words that make a sentence of a text that might be a name.
#[rustfmt::skip]
pub(super) const SENTENCE: &[&str] = &[
    "i", "im", "ive", "id", "ill", "youre", "u", "want", "need", "dont", "cant", "wont", "didnt", "havent", "isnt",
    "think", "know", "sorry", "because", "but", "if", "what", "whats", "how", "why", "who", "when", "where", "please",
    "looking", "wondering", "interested", "understand", "sure", "already",
    "scam", "spam", "scammers", "fuck", "fucking", "shit", "bollocks", "wanker", "twat", "piss", "thinking", "deciding", "busy", "driving",
];

/// Words that make a sentence of a text that might be a name, unless it names a trade or a company.
#[rustfmt::skip]
pub(super) const PERHAPS_SENTENCE: &[&str] = &[
    "you", "your", "we", "me", "my", "not", "no", "this", "that", "it", "is", "are", "was", "do", "can", "get",
];

/// Words that begin a question.
#[rustfmt::skip]
pub(super) const ASKS: &[&str] = &[
    "how", "what", "whats", "who", "whos", "why", "whys", "when", "where", "wheres", "which", "hows", "wat", "wot",
    "whats", "whens",
];

/// Words that begin a question if one of [`ASKED`] follows.
#[rustfmt::skip]
pub(super) const MAY_ASK: &[&str] = &[
    "is", "are", "can", "could", "do", "does", "did", "will", "would", "should", "am", "have", "has", "may", "shall",
    "r",
];

/// Words that follow one of [`MAY_ASK`] in a question.
#[rustfmt::skip]
pub(super) const ASKED: &[&str] = &[
    "i", "you", "u", "we", "it", "this", "that", "there", "they", "the", "he", "she", "anyone", "my",
];

/// Words that are never a name by themselves.
#[rustfmt::skip]
pub(super) const NO_NAME: &[&str] = &[
    "sms", "text", "txt", "email", "idk", "dunno", "same", "na", "test", "testing", "asdf", "nothing", "none", "done",
    "sorted", "unsure", "what", "huh", "eh", "um", "er", "erm", "wtf", "hmm", "name", "business", "company", "above",
    "before", "stop",
    "scam", "spam", "fuck", "shit", "bollocks", "busy", "driving", "confused", "lost", "tbc", "tbd", "private", "skip", "pass", "next", "question", "whatever", "see",
    "why", "how", "who", "yet", "guess", "where", "when",
    "here", "home", "interesting", "cancelled", "canceled",
];

/// Returns whether a character is part of an emoji.
pub(super) fn is_emoji(character: char) -> bool {
    matches!(u32::from(character), 0x1F000..=0x1FAFF | 0x2600..=0x27BF | 0xFE0F | 0x200D | 0x20E3)
}

pub(super) fn is_apostrophe(character: char) -> bool {
    matches!(character, '\'' | '’' | '‘' | '`' | '´')
}

/// Returns the words of a text in lower case, without apostrophes and emoji: `" Yes, don't! "` becomes `["yes", "dont"]`.
pub(super) fn plain(body: &str) -> Vec<String> {
    body.split(|character: char| !character.is_alphanumeric() && !is_apostrophe(character))
        .map(|word| word.replace(is_apostrophe, "").to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Returns the words of a text as [`plain`] does, but with emoji put into words.
pub(super) fn uttered(body: &str) -> Vec<String> {
    if body.is_ascii() { plain(body) } else { plain(&spoken(body)) }
}

/// Returns the words of an answer as [`uttered`] does, but with each phrase of [`PHRASES`] put into its word.
pub(super) fn meant(body: &str) -> Vec<String> {
    let mut said = uttered(body).join(" ");
    said.insert(0, ' ');
    said.push(' ');
    for (phrase, word) in PHRASES {
        if said.contains(phrase) {
            said = said.replace(&format!(" {phrase} "), &format!(" {word} "));
        }
    }
    said.split_whitespace().map(str::to_owned).collect()
}

/// Returns a text with its emoji put into words.
fn spoken(body: &str) -> String {
    let mut spoken = String::with_capacity(body.len());
    for character in body.chars() {
        match EMOJI.iter().find(|(emoji, _)| *emoji == character) {
            Some((_, word)) => spoken.extend([" ", word, " "]),
            None => spoken.push(character),
        }
    }
    spoken
}

/// Returns whether `said` begins with the words of `phrase`.
pub(super) fn begins_with<S: AsRef<str>>(said: &[S], phrase: &str) -> bool {
    let mut said = said.iter();
    phrase.split(' ').all(|word| said.next().is_some_and(|it| it.as_ref() == word))
}

/// Returns whether a word is in a list. The last letter may be repeated: "yesss", "doneeee".
pub(super) fn is_among(word: &str, list: &[&str]) -> bool {
    list.contains(&word) || word != "off" && once_at_the_end(word).is_some_and(|short| list.contains(&short))
}

/// Returns the word with its last letter once, if that letter is repeated.
fn once_at_the_end(word: &str) -> Option<&str> {
    let last = word.chars().next_back()?;
    let begin = word.trim_end_matches(last);
    let short = word.get(..begin.len() + last.len_utf8())?;
    (short.len() < word.len()).then_some(short)
}

/// Returns whether every word of `said` is in one of `lists`.
pub(super) fn all_among(said: &[String], lists: &[&[&str]]) -> bool {
    said.iter().all(|word| lists.iter().any(|list| is_among(word, list)))
}

/// Returns whether a word of `said` is in `list`.
pub(super) fn any_among(said: &[String], list: &[&str]) -> bool {
    said.iter().any(|word| is_among(word, list))
}

/// Returns whether `said` contains `phrase`, word by word.
pub(super) fn has_phrase(said: &[String], phrase: &str) -> bool {
    (0..said.len()).any(|from| {
        let mut rest = said.iter().skip(from);
        phrase.split(' ').all(|word| rest.next().is_some_and(|it| it == word))
    })
}

/// Returns the place in `said` where `phrase` begins.
pub(super) fn place_of(said: &[String], phrase: &str) -> Option<usize> {
    (0..said.len()).find(|from| begins_with(said.get(*from..).unwrap_or_default(), phrase))
}

/// Returns the sentences of a text, each with its closing mark: "Why? Stop" has two. A full stop within a word ends none.
pub(super) fn sentences(body: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut begin = 0;
    for (at, mark) in body.char_indices() {
        let next = at + mark.len_utf8();
        let rest = body.get(next..).unwrap_or_default();
        let ends = matches!(mark, '!' | '?' | '\n' | ';') || (mark == '.' && !rest.starts_with(char::is_alphanumeric));
        if ends || rest.is_empty() {
            sentences.push(body.get(begin..next).unwrap_or_default());
            begin = next;
        }
    }
    sentences.retain(|it| it.chars().any(char::is_alphanumeric));
    sentences
}

/// Words that may stand between a negation and the word that it denies: "I don't want you to cancel".
#[rustfmt::skip]
const BETWEEN_NEGATION: &[&str] = &[
    "to", "want", "wanted", "ask", "asked", "wish", "going", "gonna", "wanna", "please", "pls", "even", "actually",
    "you", "u", "ever", "be", "been", "need", "mean", "meant", "have", "say", "said", "really", "just", "trying",
];

/// Returns whether the word at `place` is denied: "please do not close", but not "why don't you stop".
pub(super) fn is_negated(said: &[String], place: usize) -> bool {
    let before = said.get(..place).unwrap_or_default();
    let skipped = before.iter().rev().take_while(|word| BETWEEN_NEGATION.contains(&word.as_str())).count();
    let negation = before.len().checked_sub(skipped + 1);
    let word = negation.and_then(|place| before.get(place)).map(String::as_str).unwrap_or_default();
    let asks_why = negation
        .is_some_and(|place| place.checked_sub(1).is_some_and(|it| said.get(it).is_some_and(|word| word == "why")));
    matches!(word, "dont" | "not" | "never" | "didnt" | "wont" | "doesnt" | "havent" | "without" | "wasnt" | "isnt")
        && !asks_why
}
