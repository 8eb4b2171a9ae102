//! Text that somebody else chose, so that it can be shown: in one line, and with nothing in it that can't be seen.
//!
//! The only place that says what must not reach a line of a log, a terminal or a message as it is.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` for one line. A character that ends lines, steers terminals, turns the direction of writing or can't be seen stands there
/// as `\u{202e}`; where something does, a backslash of the text's own is doubled.
///
/// Shape: any text; what can be seen anyway comes back as it is. [`meant`] is the way back.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) && !text.contains(ESCAPE) {
        return Cow::Borrowed(text);
    }
    if !text.contains(ESCAPE) && !judged(text).any(|(_, must_be_written_out)| must_be_written_out) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (letter, must_be_written_out) in judged(text) {
        match letter {
            '\\' => out.push_str("\\\\"),
            letter if must_be_written_out => out.extend(letter.escape_unicode()),
            letter => out.push(letter),
        }
    }
    Cow::Owned(out)
}

/// Each letter, and whether it must be written out where it stands.
///
/// Scripts and pictures need joiners (U+200C, U+200D): between two letters that can be seen and are not ASCII they stay.
fn judged(text: &str) -> impl Iterator<Item = (char, bool)> + '_ {
    let can_be_joined = |letter: Option<char>| {
        letter.is_some_and(|letter| !letter.is_ascii() && !is_hidden(letter))
    };
    let mut letters = text.chars().peekable();
    let mut before = None;
    std::iter::from_fn(move || {
        let letter = letters.next()?;
        let is_joiner = matches!(letter, '\u{200c}' | '\u{200d}')
            && can_be_joined(before)
            && can_be_joined(letters.peek().copied());
        before = Some(letter);
        Some((letter, is_hidden(letter) && !is_joiner))
    })
}

/// The text that [`visible`] has made `shown` of.
#[must_use]
pub fn meant(shown: &str) -> Cow<'_, str> {
    if !shown.contains(ESCAPE) {
        return Cow::Borrowed(shown);
    }
    let mut out = String::with_capacity(shown.len());
    let mut rest = shown;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('\\') {
            out.push('\\');
            rest = after;
        } else if let Some((letter, after)) = escaped(rest) {
            out.push(letter);
            rest = after;
        } else {
            out.push('\\');
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// A finished line: as [`visible`], but its backslashes stay.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    without(text, |_| true)
}

/// A finished text of several lines, each as of [`line()`].
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    without(text, |letter| letter != '\n')
}

fn without(text: &str, is_meant: impl Fn(char) -> bool + Copy) -> Cow<'_, str> {
    if !text.contains(|letter| is_hidden(letter) && is_meant(letter)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (letter, must_be_written_out) in judged(text) {
        if must_be_written_out && is_meant(letter) {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

/// A JSON text with the same meaning, in which everything can be seen.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    // Only strings hold such letters: JSON's own white space is its writer's.
    let is_harmful = |letter| letter != '\n' && is_hidden(letter);
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_harmful(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a string never fails.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

/// Control characters, format characters, what ends lines and paragraphs, what a font may leave out, what is none.
///
/// Source: Unicode 17, general categories Cc, Cf, Zl and Zp, `Default_Ignorable_Code_Point`, noncharacters.
#[must_use]
pub fn is_hidden(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_control();
    }
    let number = u32::from(letter);
    letter.is_control()
        || number & 0xfffe == 0xfffe
        || HIDDEN
            .binary_search_by(|(first, last)| {
                if *last < number {
                    std::cmp::Ordering::Less
                } else if *first > number {
                    std::cmp::Ordering::Greater
                } else {
                    std::cmp::Ordering::Equal
                }
            })
            .is_ok()
}

/// `u{202e}` and what follows it.
fn escaped(text: &str) -> Option<(char, &str)> {
    let (digits, rest) = text.strip_prefix("u{")?.split_once('}')?;
    if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let letter = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Some((letter, rest))
}

const ESCAPE: &str = "\\u{";

/// First and last of each range, in order.
const HIDDEN: [(u32, u32); 26] = [
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x0890, 0x0891),
    (0x08e2, 0x08e2),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfdd0, 0xfdef),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0x110bd, 0x110bd),
    (0x110cd, 0x110cd),
    (0x13430, 0x1343f),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe0fff),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        for (text, shown) in [
            ("phone", "phone"),
            (
                "\u{fc}n\u{ef} \u{1f4f1} \u{5d0}\u{5d1} C:\\new",
                "\u{fc}n\u{ef} \u{1f4f1} \u{5d0}\u{5d1} C:\\new",
            ),
            ("a\nb\r\tc", r"a\u{a}b\u{d}\u{9}c"),
            ("a\u{1b}[2J\u{9b}2J\u{7f}", r"a\u{1b}[2J\u{9b}2J\u{7f}"),
            (
                "a\u{200b}\u{feff}\u{ad}\u{e0001}\u{202e}",
                r"a\u{200b}\u{feff}\u{ad}\u{e0001}\u{202e}",
            ),
            (
                "\u{2028}\u{2029}\u{3164}\u{fe0f}\u{fffe}\u{2060}",
                r"\u{2028}\u{2029}\u{3164}\u{fe0f}\u{fffe}\u{2060}",
            ),
            // Joiners between letters that need them stay; between others they would only hide.
            (
                "\u{1f469}\u{200d}\u{1f4bb} \u{645}\u{6cc}\u{200c}\u{62e} \\",
                "\u{1f469}\u{200d}\u{1f4bb} \u{645}\u{6cc}\u{200c}\u{62e} \\",
            ),
            ("pho\u{200d}ne\u{200c}", r"pho\u{200d}ne\u{200c}"),
            (
                "\u{645}\u{200d}\u{200d}\u{645}\u{200c}a",
                "\u{645}\\u{200d}\\u{200d}\u{645}\\u{200c}a",
            ),
            (r"a\u{200b}", r"a\\u{200b}"),
            ("\\\u{200b}", r"\\\u{200b}"),
        ] {
            assert_eq!(visible(text), shown, "{text:?}");
            assert_eq!(meant(shown), text, "{shown}");
        }
    }

    #[test]
    fn of_a_finished_text_the_lines_stay() {
        assert_eq!(lines("a\n\u{1b}b\n\u{202e}"), "a\n\\u{1b}b\n\\u{202e}");
        assert_eq!(lines(r"a\\u{200b}"), r"a\\u{200b}");
    }

    #[test]
    fn ranges_are_in_order() {
        assert!(HIDDEN.iter().all(|(first, last)| first <= last));
        assert!(HIDDEN.is_sorted_by(|(_, last), (first, _)| last < first));
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"a\u{9b}": "\u{202e}\u{e0001}\n\u{7f}b"});
        let shown = json(&value.to_string()).into_owned();
        assert!(!shown.contains(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str(&shown).ok(), Some(value));
    }

    proptest! {
        #[test]
        fn every_text_can_be_shown_and_meant(text in any::<String>(), around in r"[a\\u{}0-9\n\x{202e}]{0,20}") {
            for text in [text, around] {
                let shown = visible(&text).into_owned();
                prop_assert!(!judged(&shown).any(|(_, must_be_written_out)| must_be_written_out));
                prop_assert_eq!(lines(&shown), shown.as_str());
                prop_assert_eq!(meant(&shown), text);
            }
        }
    }
}
