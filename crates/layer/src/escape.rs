//! Bytes of others, made fit for a terminal, a log and a golden file.

use std::fmt::{self, Write as _};

/// Shows bytes as text: printable characters as they are, everything else escaped.
///
/// Control characters, the backslash, bytes that are no UTF-8, and characters that change direction or are
/// invisible become `\xNN` or `\u{N}`, so that a file name can neither move a cursor nor pretend to be another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                write_character(f, character)?;
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn write_character(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '\\' => f.write_str("\\\\"),
        _ if character.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(character)),
        _ if character.is_control() || is_invisible(character) => {
            write!(f, "\\u{{{:x}}}", u32::from(character))
        }
        _ => f.write_char(character),
    }
}

/// Zero-width characters and direction marks (Unicode, general category Cf, the ones that text can hide in).
const fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_seen_is_shown_as_it_is() {
        let shown = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(shown("café/ü".as_bytes()), "café/ü");
        assert_eq!(shown(b"a\x1b[2J\n\\\xff"), r"a\x1b[2J\x0a\\\xff");
        assert_eq!(shown("a\u{202e}b\u{85}".as_bytes()), r"a\u{202e}b\u{85}");
    }
}
