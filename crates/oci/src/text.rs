//! Texts: values that are written as one, read without a copy of it; and numbers before what they count.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a text, and makes of it what `parse` says.
///
/// # Errors
///
/// What the format says of anything but a text, and what `parse` says of the text, at the text's place.
pub fn read<'de, D: Deserializer<'de>, T, E: fmt::Display>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text(parse))
}

/// `1 file`, `2 files`.
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

struct Text<F>(F);

impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<F> {
    type Value = T;

    /// As for any `String`.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<D: Error>(self, text: &str) -> Result<T, D> {
        (self.0)(text).map_err(D::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_port(json: &str) -> Result<u16, serde_json::Error> {
        read(&mut serde_json::Deserializer::from_str(json), str::parse)
    }

    #[test]
    fn a_text_is_parsed_and_nothing_else_is_taken() {
        assert_eq!(read_port(r#""8080""#).unwrap(), 8080);
        // A text with escapes is not a piece of what was read.
        assert_eq!(read_port(r#""\u0038080""#).unwrap(), 8080);
        let wrong = read_port(r#""eighty""#).unwrap_err().to_string();
        assert!(wrong.contains("invalid digit"), "{wrong}");
        for other in ["8080", "null", "[]", "{}"] {
            let error = read_port(other).unwrap_err().to_string();
            assert!(error.contains("expected a string"), "{other}: {error}");
        }
    }
}
