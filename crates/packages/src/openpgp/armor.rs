//! Packets as text (RFC 9580, section 6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::packet::Malformed;

/// What armored bytes begin with.
const BEGIN: &str = "-----BEGIN PGP ";

/// Whether `bytes` are text that has an armored block.
pub(super) fn is_armored(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(BEGIN.as_bytes())
}

/// The bytes of all blocks of `kind`, one after the other: `PUBLIC KEY BLOCK` or `SIGNATURE`.
///
/// Between blocks only blank lines may stand. The checksum of older programs is not looked at: everything that comes out of here
/// is verified by a signature.
pub(super) fn dearmor(text: &str, kind: &str) -> Result<Vec<u8>, Malformed> {
    let mut lines = text.lines().map(str::trim_end);
    let mut bytes = Vec::new();
    let mut blocks = 0;
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        if line != format!("{BEGIN}{kind}-----") {
            return Err(Malformed);
        }
        // Headers, up to a blank line.
        for line in lines.by_ref() {
            if line.is_empty() {
                break;
            }
            if !line.contains(": ") && !line.ends_with(':') {
                return Err(Malformed);
            }
        }
        bytes.extend(block(&mut lines, kind)?);
        blocks += 1;
    }
    if blocks == 0 { Err(Malformed) } else { Ok(bytes) }
}

fn block<'t>(lines: &mut impl Iterator<Item = &'t str>, kind: &str) -> Result<Vec<u8>, Malformed> {
    let end = format!("-----END PGP {kind}-----");
    let mut data = String::new();
    for line in lines {
        if line == end {
            return STANDARD.decode(data).map_err(|_| Malformed);
        }
        if !line.starts_with('=') {
            data.push_str(line);
        }
    }
    Err(Malformed)
}
