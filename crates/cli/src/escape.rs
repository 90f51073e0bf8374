//! Makes text of others harmless before a terminal sees it.

use std::fmt::Write as _;

/// `text` with every control character, line break and bidirectional override written out, so that nothing in a
/// label, tag, file name or registry's message can move the cursor, hide text or look like our own lines.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            push_escaped(&mut safe, character);
        } else {
            safe.push(character);
        }
    }
    safe
}

/// As [`escape`], but line breaks stay: for text of several lines whose breaks are ours.
#[must_use]
pub fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn push_escaped(safe: &mut String, character: char) {
    let code = u32::from(character);
    // Writing to a String does not fail.
    let _ = match character {
        '\n' => safe.write_str("\\n"),
        '\r' => safe.write_str("\\r"),
        '\t' => safe.write_str("\\t"),
        _ if code < 0x100 => write!(safe, "\\x{code:02x}"),
        _ => write!(safe, "\\u{{{code:x}}}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c19_terminal_escapes_are_written_out() {
        assert_eq!(
            escape("a\x1b[31mb\r\n\u{9b}1m\u{202e}x"),
            "a\\x1b[31mb\\r\\n\\x9b1m\\u{202e}x"
        );
    }

    #[test]
    fn ordinary_text_of_any_language_stays() {
        let text = "größe → 大きさ `x` \"y\" …";
        assert_eq!(escape(text), text);
        assert_eq!(escape_lines("a\nb\x07"), "a\nb\\x07");
    }
}
