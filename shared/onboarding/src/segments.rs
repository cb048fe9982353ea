//! Counts the segments of a text, and rewrites a text so that it needs fewer. The rewrite must not change what a text says.
//!
//! Carriers charge by the segment. One character outside the GSM alphabet puts the whole text into UCS-2, where a segment holds
//! less than half as much. Typographic quotes and dashes are such characters, and plain ones read just as well.
//!
//! Some characters are not split over two parts, so a text can need more parts than its length says. These are the two septets of
//! an extension character, a surrogate pair, and characters that are drawn as one (an emoji with its skin tone, a flag, a letter
//! with a combining accent). The last are found without Unicode's tables, so the count for rare scripts may be off by one.
//!
//! A text that stays in UCS-2 is not rewritten, because nothing is gained. Neither is a text that would become dearer, such as a
//! long row of ellipses. Accented letters are not replaced, because a name without its accent is another name.

use std::borrow::Cow;

/// The GSM 7-bit basic alphabet of 3GPP TS 23.038, 16 characters to a line. The second line has 15, because place 0x1B is the
/// escape and not a character.
const BASIC: &str = concat!(
    "@£$¥èéùìòÇ\nØø\rÅå",
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ",
    " !\"#¤%&'()*+,-./",
    "0123456789:;<=>?",
    "¡ABCDEFGHIJKLMNO",
    "PQRSTUVWXYZÄÖÑÜ§",
    "¿abcdefghijklmno",
    "pqrstuvwxyzäöñüà",
);

/// The characters that take two septets, the escape and one more.
const EXTENSION: &str = "\u{c}[\\]^{|}~€";

/// The room in GSM-7, in septets. Each part of a longer text also carries a header of six bytes.
const GSM7_ROOM: Room = Room { alone: 160, part: 153 };

/// The room in UCS-2, in UTF-16 code units.
const UCS2_ROOM: Room = Room { alone: 70, part: 67 };

/// The alphabet in which a text is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The GSM 7-bit alphabet with its extension table.
    Gsm7,
    /// UTF-16, which has every character.
    Ucs2,
}

impl Encoding {
    /// Returns the name under which the alphabet is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gsm7 => "gsm7",
            Self::Ucs2 => "ucs2",
        }
    }
}

/// The cost of a text in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The number of charged segments, at least 1.
    pub count: u32,
    /// The alphabet that gives this number.
    pub encoding: Encoding,
}

/// The room for text in a segment of a text sent alone, and in a part of a longer one: in septets or UTF-16 code units.
#[derive(Clone, Copy)]
struct Room {
    alone: usize,
    part: usize,
}

/// Counts the segments of a text as Twilio counts them. Twilio's own report decides the bill.
#[must_use]
pub fn segments(body: &str) -> Segments {
    let septets: Option<Vec<usize>> = body.chars().map(septets).collect();
    match septets {
        Some(pieces) => Segments { count: parts(&pieces, GSM7_ROOM), encoding: Encoding::Gsm7 },
        None => Segments { count: parts(&ucs2_pieces(body), UCS2_ROOM), encoding: Encoding::Ucs2 },
    }
}

/// Replaces look-alikes by GSM characters if the whole text then fits GSM-7 and needs no more segments. Otherwise returns it
/// unchanged.
#[must_use]
pub fn in_gsm_if_nothing_is_lost(body: &str) -> Cow<'_, str> {
    if body.chars().all(is_gsm) {
        return Cow::Borrowed(body);
    }
    match in_gsm(body) {
        Some(plain) if segments(&plain).count <= segments(body).count => Cow::Owned(plain),
        Some(_) | None => Cow::Borrowed(body),
    }
}

/// Returns the number of parts that pieces of these sizes fill. A piece is not divided, and each part is filled before the next.
fn parts(pieces: &[usize], room: Room) -> u32 {
    if pieces.iter().sum::<usize>() <= room.alone {
        return 1;
    }
    let mut count = 1;
    let mut used = 0;
    for piece in pieces {
        if used + piece > room.part {
            count += 1;
            used = 0;
        }
        used += piece;
    }
    count
}

/// Returns the septets that a character takes in GSM-7, if the alphabet has it.
fn septets(character: char) -> Option<usize> {
    if BASIC.contains(character) {
        Some(1)
    } else if EXTENSION.contains(character) {
        Some(2)
    } else {
        None
    }
}

pub(crate) fn is_gsm(character: char) -> bool {
    septets(character).is_some()
}

/// Returns the sizes of the pieces that are not split in UCS-2, in UTF-16 code units. A piece too large for a part is split.
fn ucs2_pieces(body: &str) -> Vec<usize> {
    let mut pieces: Vec<usize> = Vec::new();
    let mut previous = None;
    let mut half_a_flag = false;
    for character in body.chars() {
        let units = character.len_utf16();
        let ends_flag = half_a_flag && is_regional(character);
        let joined = ends_flag || extends(character) || previous.is_some_and(|before| is_joined(before, character));
        match pieces.last_mut() {
            Some(piece) if joined && *piece + units <= UCS2_ROOM.part => *piece += units,
            Some(_) | None => pieces.push(units),
        }
        half_a_flag = is_regional(character) && !ends_flag;
        previous = Some(character);
    }
    pieces
}

/// Returns whether a zero-width joiner makes one emoji of the two, as of a woman and a laptop. Between letters it does not.
fn is_joined(before: char, character: char) -> bool {
    before == '\u{200d}' && !character.is_ascii() && !character.is_alphanumeric()
}

/// Returns whether a character is drawn into the one before it.
fn extends(character: char) -> bool {
    matches!(
        character,
        // Combining marks.
        '\u{300}'..='\u{36f}'
            | '\u{483}'..='\u{489}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}'
            // The zero-width joiner and non-joiner, and the variation selectors.
            | '\u{200c}'..='\u{200d}'
            | '\u{fe00}'..='\u{fe0f}'
            // Skin tones, and the tags that turn a black flag into the flag of England.
            | '\u{1f3fb}'..='\u{1f3ff}'
            | '\u{e0020}'..='\u{e007f}'
    )
}

/// Returns whether a character is half a flag. Two of them are drawn as one.
fn is_regional(character: char) -> bool {
    matches!(character, '\u{1f1e6}'..='\u{1f1ff}')
}

/// Returns the text with every look-alike replaced, if no character outside the GSM alphabet is left.
fn in_gsm(body: &str) -> Option<String> {
    let mut plain = String::with_capacity(body.len());
    for character in body.chars().map(half_width) {
        if is_gsm(character) {
            plain.push(character);
            continue;
        }
        let replacement = look_alike(character)?;
        // "1½" becomes "1 1/2", not "11/2".
        if is_number(replacement) && plain.ends_with(|before: char| before.is_ascii_digit()) {
            plain.push(' ');
        }
        plain.push_str(replacement);
    }
    Some(plain)
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

/// Returns the ASCII character of a full-width form, and any other character unchanged.
fn half_width(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(character) - u32::from('\u{ff01}') + u32::from('!')).unwrap_or(character)
        }
        _ => character,
    }
}

/// Returns the GSM spelling of a character outside that alphabet. Follows Twilio's Smart Encoding, but does not pad (a no-break
/// space becomes one space), and leaves out characters that only look similar: ornaments, small capitals, combining marks.
fn look_alike(character: char) -> Option<&'static str> {
    Some(match character {
        // Curly single quotes, primes, accents that stand alone and the backtick.
        '‘' | '’' | '‛' | '′' | '‵' | '‹' | '›' | '`' | '´' | 'ʹ' | 'ʻ' | 'ʼ' | 'ʽ' | 'ˈ' | 'ˊ' | 'ˋ' | '❛' | '❜' => {
            "'"
        }
        // Curly double quotes, double primes and guillemets.
        '“' | '”' | '„' | '‟' | '″' | '‶' | '«' | '»' | 'ʺ' | 'ˮ' | '❝' | '❞' | '〝' | '〞' => {
            "\""
        }
        // The low quotation mark is drawn as a comma.
        '‚' => ",",
        // Hyphens and dashes from U+2010 to the horizontal bar, minus, and the small forms.
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => "-",
        // Bullets, round, triangular and hyphen-shaped.
        '\u{2022}' | '\u{2023}' | '\u{2043}' => "-",
        '…' => "...",
        // Fraction slash and division slash.
        '\u{2044}' | '\u{2215}' => "/",
        // The tab, the no-break spaces, and the spaces of other widths.
        '\t' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        // Line separator and paragraph separator.
        '\u{2028}' | '\u{2029}' => "\n",
        // Soft hyphen; zero-width space, non-joiner and joiner; word joiner; byte order mark.
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => "",
        // Marks of left-to-right writing, which phones put around numbers. All of GSM is written so.
        '\u{200e}' | '\u{202a}' | '\u{202c}' | '\u{2066}' | '\u{2068}' | '\u{2069}' => "",
        '¼' => "1/4",
        '½' => "1/2",
        '¾' => "3/4",
        '⅐' => "1/7",
        '⅑' => "1/9",
        '⅒' => "1/10",
        '⅓' => "1/3",
        '⅔' => "2/3",
        '⅕' => "1/5",
        '⅖' => "2/5",
        '⅗' => "3/5",
        '⅘' => "4/5",
        '⅙' => "1/6",
        '⅚' => "5/6",
        '⅛' => "1/8",
        '⅜' => "3/8",
        '⅝' => "5/8",
        '⅞' => "7/8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn gsm7(count: u32) -> Segments {
        Segments { count, encoding: Encoding::Gsm7 }
    }

    fn ucs2(count: u32) -> Segments {
        Segments { count, encoding: Encoding::Ucs2 }
    }

    fn every_character() -> impl Iterator<Item = char> {
        '\0'..=char::MAX
    }

    #[test]
    fn the_basic_alphabet_is_that_of_the_standard() {
        let basic: BTreeSet<char> = BASIC.chars().collect();
        assert_eq!(BASIC.chars().count(), 127, "128 places, of which one is the escape");
        assert_eq!(basic.len(), 127, "no character twice");
        assert!(!basic.contains(&'\u{1b}'));
        let written_otherwise: BTreeSet<char> = ('A'..='Z')
            .chain('a'..='z')
            .chain('0'..='9')
            .chain("\n\r !\"#$%&'()*+,-./:;<=>?@_".chars())
            .chain("¡£¤¥§¿ÄÅÆÇÉÑÖØÜßàäåæèéìñòöøùü".chars())
            .chain("\u{393}\u{394}\u{398}\u{39b}\u{39e}\u{3a0}\u{3a3}\u{3a6}\u{3a8}\u{3a9}".chars())
            .collect();
        assert_eq!(basic, written_otherwise);
        // The places in the standard: the number of characters before, and one more after the escape.
        for (place, character) in
            [(0x00, '@'), (0x0a, '\n'), (0x0d, '\r'), (0x10, 'Δ'), (0x1a, 'Ξ'), (0x1c, 'Æ'), (0x20, ' '), (0x7f, 'à')]
        {
            let before = BASIC.chars().position(|other| other == character).unwrap();
            assert_eq!(before + usize::from(place > 0x1b), place, "{character:?}");
        }
        for other in "`\têçáíóúÁÈ“’–…\u{a0}\u{1b}\0👍ш".chars() {
            assert_eq!(septets(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_basic_character_takes_one_septet_and_an_extension_character_two() {
        for character in BASIC.chars() {
            let text = character.to_string();
            assert_eq!(segments(&text.repeat(160)), gsm7(1), "{character:?}");
            assert_eq!(segments(&text.repeat(161)), gsm7(2), "{character:?}");
        }
        assert_eq!(EXTENSION.chars().collect::<BTreeSet<_>>().len(), 10);
        for character in EXTENSION.chars() {
            let text = character.to_string();
            assert_eq!(segments(&text.repeat(80)), gsm7(1), "{character:?}");
            assert_eq!(segments(&text.repeat(81)), gsm7(2), "{character:?}");
        }
        assert_eq!(every_character().filter(|character| is_gsm(*character)).count(), 137);
    }

    #[test]
    fn segments_are_counted_as_twilio_counts_them() {
        for (text, times, expected) in [
            ("a", 0, gsm7(1)),
            ("a", 1, gsm7(1)),
            ("a", 160, gsm7(1)),
            ("a", 161, gsm7(2)),
            ("a", 306, gsm7(2)),
            ("a", 307, gsm7(3)),
            ("a", 1600, gsm7(11)),
            ("€", 80, gsm7(1)),
            ("€", 81, gsm7(2)),
            ("ш", 70, ucs2(1)),
            ("ш", 71, ucs2(2)),
            ("ш", 134, ucs2(2)),
            ("ш", 135, ucs2(3)),
            ("👍", 35, ucs2(1)),
            ("👍", 36, ucs2(2)),
        ] {
            assert_eq!(segments(&text.repeat(times)), expected, "{times} times {text}");
        }
    }

    #[test]
    fn characters_that_are_drawn_as_one_stay_in_one_part() {
        let between = |text: &str, around: &str, times| around.repeat(times) + text + &around.repeat(times);
        assert_eq!(segments(&between("€", "a", 152)), gsm7(3));
        assert_eq!(segments(&between("bb", "a", 152)), gsm7(2));
        assert_eq!(segments(&between("\r\n", "a", 152)), gsm7(2), "a line's end may be split");
        assert_eq!(segments(&between("👍", "ш", 66)), ucs2(3));
        assert_eq!(segments(&between("шш", "ш", 66)), ucs2(2));
        for cluster in ["🇬🇧", "👍🏽", "👩‍💻", "e\u{301}\u{302}\u{303}", "1\u{fe0f}\u{20e3}"] {
            let units = cluster.encode_utf16().count();
            assert_eq!(ucs2_pieces(cluster), [units], "{cluster}");
            assert_eq!(segments(&between(cluster, "ш", 66)), ucs2(3), "{cluster}");
        }
        assert_eq!(ucs2_pieces("🇬🇧🇮🇪"), [4, 4]);
        assert_eq!(ucs2_pieces("\u{301}"), [1], "nothing stands before it");
        assert_eq!(ucs2_pieces(&"\u{301}".repeat(100)), [67, 33], "a piece too large for a part is split");
    }

    #[test]
    fn look_alikes_become_gsm_characters() {
        for (fancy, plain) in [
            ("We’re ‘here’", "We're 'here'"),
            ("“Acme” „Acme‟ «Acme»", "\"Acme\" \"Acme\" \"Acme\""),
            ("6′ 2″", "6' 2\""),
            ("9–5 — or 9‑5, −3°", "9–5 — or 9‑5, −3°"),
            ("9–5 — or 9‑5, −3", "9-5 - or 9-5, -3"),
            ("• one\n• two", "- one\n- two"),
            ("Wait…", "Wait..."),
            ("£29\u{a0}a\u{2009}month\tonly", "£29 a month only"),
            ("\u{feff}Job\u{200b}Run", "JobRun"),
            ("\u{202a}+447700900123\u{202c}", "+447700900123"),
            ("`Bob`", "'Bob'"),
            ("ＪＯＢ　Ｒｕｎ！～｀", "JOB Run!~'"),
            ("½ day, 1½ days, １¼ days", "1/2 day, 1 1/2 days, 1 1/4 days"),
            ("Zoë’s", "Zoë’s"),
            ("Café’s", "Café's"),
        ] {
            assert_eq!(in_gsm_if_nothing_is_lost(fancy), plain);
        }
    }

    #[test]
    fn a_text_that_stays_in_ucs2_is_not_changed() {
        for text in ["📱 iPhone “Setup”…", "Crêpes – François’s", "“Привет”", "1\u{fe0f}\u{20e3} – one", "e\u{301}’"]
        {
            assert!(matches!(in_gsm_if_nothing_is_lost(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn a_text_in_gsm_is_not_copied() {
        for text in ["", "Plain text: £29 [€]", "Ω"] {
            assert!(matches!(in_gsm_if_nothing_is_lost(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn a_text_never_becomes_dearer() {
        let ellipses = "…".repeat(70);
        assert_eq!(segments(&ellipses), ucs2(1));
        assert_eq!(in_gsm_if_nothing_is_lost(&ellipses), ellipses);
        assert_eq!(in_gsm_if_nothing_is_lost(&"…".repeat(53)), "...".repeat(53));
    }

    #[test]
    fn replacing_twice_changes_nothing_more_and_no_character_becomes_dearer() {
        let fancy =
            every_character().filter(|character| in_gsm(&character.to_string()).is_some() && !is_gsm(*character));
        let others = ['a', '€', '1', 'ê', 'ш', '👍', '\u{200d}', '\u{1b}'];
        for character in fancy.chain(others) {
            assert!(look_alike(character).is_none_or(|plain| plain.chars().all(is_gsm)), "{character:?}");
            for times in [1, 35, 53, 54, 67, 68, 70, 71, 134, 160, 201] {
                for beside in ["", "7", "€", "é", "…", "ш", "👍"] {
                    let text = beside.to_owned() + &character.to_string().repeat(times) + beside;
                    let once = in_gsm_if_nothing_is_lost(&text);
                    assert_eq!(in_gsm_if_nothing_is_lost(&once), once, "{text}");
                    assert!(segments(&once).count <= segments(&text).count, "{text}");
                    let gained = segments(&once).encoding == Encoding::Gsm7;
                    assert!(gained || once == text, "{text}");
                }
            }
        }
    }

    #[test]
    fn alphabets_have_their_stored_names() {
        assert_eq!((Encoding::Gsm7.name(), Encoding::Ucs2.name()), ("gsm7", "ucs2"));
    }
}
