//! Bytes as text that can be reviewed, and back.

use cairn_layer::TreePath;

use crate::document::{Problem, chain};

/// `bytes` with `%` and everything that is not printable UTF-8 as `%` and two hexadecimal digits.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '%' || character.is_control() {
                push_escaped(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(character);
            }
        }
        push_escaped(&mut text, chunk.invalid());
    }
    text
}

fn push_escaped(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("%{byte:02x}"));
    }
}

/// The bytes of which [`escape`] made `text`; other spellings of them are refused.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(byte.ok_or_else(|| not_escaped(text))?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    if escape(&bytes) == text {
        Ok(bytes)
    } else {
        Err(not_escaped(text))
    }
}

fn not_escaped(text: &str) -> Problem {
    Problem::new(format!(
        "`{}` is not escaped as the lock does it",
        text.escape_debug()
    ))
}

/// A path in the image: absolute and escaped.
pub(super) fn path_text(path: &TreePath) -> String {
    format!("/{}", escape(path.as_bytes()))
}

/// The path of which [`path_text`] made `text`.
pub(super) fn path(text: &str) -> Result<TreePath, Problem> {
    let relative = text
        .strip_prefix('/')
        .ok_or_else(|| Problem::new(format!("`{text}` is not absolute")))?;
    TreePath::new(unescape(relative)?).map_err(|error| Problem::new(chain(&error)))
}

/// `text` as a TOML basic string (TOML 1.0, "String").
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
