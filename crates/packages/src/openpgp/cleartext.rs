//! Text that is signed where it stands (RFC 9580, section 7).
//!
//! What is outside of the signed part is never read: a file with anything before, behind or between is refused.

use super::armor::dearmor;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";

/// Why a text is not signed where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CleartextError {
    /// It is no UTF-8, or has NUL bytes.
    #[error("it is no text")]
    NoText,
    /// It does not begin with the line that says that it is signed.
    #[error("it does not begin with `{BEGIN}`")]
    Unsigned,
    /// A line has what cannot stand there.
    #[error("line {line} cannot stand in a signed text")]
    Line {
        /// Which line, from 1.
        line: usize,
    },
    /// It ends before its signature does.
    #[error("it ends before its signature does")]
    Truncated,
    /// The signature is no armored block, or something stands behind it.
    #[error("its signature is damaged, or something stands behind it")]
    Signature,
}

/// A signed text, taken apart.
pub(crate) struct Cleartext {
    /// The text, lines with a line feed at their ends, without blanks there.
    pub(crate) text: String,
    /// The same as it was signed: line ends are CR LF, but the last line has none.
    pub(crate) signed: Vec<u8>,
    /// The packets of the signatures.
    pub(crate) signatures: Vec<u8>,
}

/// Takes a signed text apart. That it was signed is not known by that.
pub(crate) fn split(bytes: &[u8]) -> Result<Cleartext, CleartextError> {
    let whole = std::str::from_utf8(bytes).map_err(|_| CleartextError::NoText)?;
    if whole.contains('\0') {
        return Err(CleartextError::NoText);
    }
    let mut lines = (1..).zip(whole.split('\n').map(trim));
    if lines.next().is_none_or(|(_, line)| line != BEGIN) {
        return Err(CleartextError::Unsigned);
    }
    loop {
        match lines.next() {
            None => return Err(CleartextError::Truncated),
            Some((_, "")) => break,
            Some((_, header)) if header.starts_with("Hash: ") => {}
            Some((line, _)) => return Err(CleartextError::Line { line }),
        }
    }
    let mut text = Vec::new();
    let signature = loop {
        match lines.next() {
            None => return Err(CleartextError::Truncated),
            Some((_, SIGNATURE)) => break lines.map(|(_, line)| line),
            Some((line, content)) => match content.strip_prefix('-') {
                None => text.push(content),
                Some(escaped) => text.push(escaped.strip_prefix(' ').ok_or(CleartextError::Line { line })?),
            },
        }
    };
    let armored: Vec<&str> = std::iter::once(SIGNATURE).chain(signature).collect();
    let end = armored.iter().position(|line| line.starts_with("-----END "));
    let end = end.ok_or(CleartextError::Truncated)?;
    if armored[end + 1..].iter().any(|line| !line.is_empty()) {
        return Err(CleartextError::Signature);
    }
    let signatures = dearmor(&armored.join("\n"), "SIGNATURE").map_err(|_| CleartextError::Signature)?;
    Ok(Cleartext {
        signed: text.join("\r\n").into_bytes(),
        text: text.into_iter().flat_map(|line| [line, "\n"]).collect(),
        signatures,
    })
}

/// Blanks at the end of a line are no part of what is signed, so they are no part of what is read.
fn trim(line: &str) -> &str {
    line.trim_end_matches([' ', '\t', '\r'])
}
