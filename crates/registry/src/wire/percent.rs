//! Percent-encoding, strictly (RFC 3986, section 2.1).

use std::fmt::Write;

/// Decodes one path segment or query value. `None` for a broken escape, bytes that are not UTF-8, and control
/// characters, which no name of the protocol has.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            bytes.push(hex(digits[0])? << 4 | hex(digits[1])?);
            rest = tail;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|decoded| !decoded.contains(char::is_control))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Encodes a query value: everything but letters, digits and `-._~/:` becomes an escape.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn broken_escapes_and_control_characters_are_refused() {
        for bad in ["%", "%4", "%zz", "a%2", "%ff", "%00", "%0a", "%7F", "%+1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode("%2e%2E"), Some("..".to_owned()));
        assert_eq!(decode("a+b"), Some("a+b".to_owned()));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in "[^\\p{Cc}]{0,40}") {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }
    }
}
