//! The outer archive of a package: ar(5), in the common form that deb(5) asks for.
//!
//! Read strictly and as it comes: each header at its place, each size a number in its only spelling, nothing between
//! two members but the byte that makes an odd length even.

use std::io::{self, Read};

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;
const HEADER_END: &[u8] = b"`\n";

/// What the header of a member says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// Modification time in seconds since 1970.
    pub(super) date: u64,
    /// Length of the content in bytes.
    pub(super) size: u64,
}

/// Why bytes are not such an archive. Texts are escaped.
#[derive(Debug, thiserror::Error)]
pub enum ArError {
    /// It does not begin like one.
    #[error("it does not begin as an ar archive does")]
    Magic,
    /// A header is no header. `at` counts bytes of the file.
    #[error("there is no header of a member at byte {at}")]
    Header {
        /// Where.
        at: u64,
    },
    /// A field of a header is not what it must be.
    #[error("the header at byte {at} has an impossible {field}")]
    Field {
        /// Where the header starts.
        at: u64,
        /// Which field.
        field: &'static str,
    },
    /// The file ends in the middle.
    #[error("it ends too early, at byte {at}")]
    Truncated {
        /// Where.
        at: u64,
    },
    /// Part of a member's content was not understood.
    #[error("the member `{name}` has {bytes} bytes behind its end")]
    Behind {
        /// The member.
        name: String,
        /// How many.
        bytes: u64,
    },
    /// The file cannot be read.
    #[error("it cannot be read")]
    Input {
        /// Why.
        source: io::Error,
    },
}

/// Reads one member after the other.
pub(super) struct Members<R> {
    input: R,
    at: u64,
    name: String,
    left: u64,
    is_odd: bool,
}

impl<R: Read> Members<R> {
    /// Reads what an archive begins with.
    pub(super) fn new(input: R) -> Result<Self, ArError> {
        let mut members = Self {
            input,
            at: 0,
            name: String::new(),
            left: 0,
            is_odd: false,
        };
        let mut magic = [0; MAGIC.len()];
        match members.fill(&mut magic)? {
            count if count == magic.len() && magic == MAGIC => Ok(members),
            _ => Err(ArError::Magic),
        }
    }

    /// The next member; none at the end. The content of the one before must have been read to its end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ArError> {
        if self.left > 0 {
            return Err(ArError::Behind {
                name: self.name.clone(),
                bytes: self.left,
            });
        }
        self.skip_padding()?;
        let at = self.at;
        let mut header = [0; HEADER];
        match self.fill(&mut header)? {
            0 => return Ok(None),
            HEADER => {}
            _ => return Err(ArError::Truncated { at: self.at }),
        }
        if &header[58..] != HEADER_END {
            return Err(ArError::Header { at });
        }
        let member = Member {
            name: name(&header[..16]).ok_or(ArError::Field { at, field: "name" })?,
            date: number(&header[16..28]).ok_or(ArError::Field { at, field: "date" })?,
            size: number(&header[48..58]).ok_or(ArError::Field { at, field: "size" })?,
        };
        self.name.clone_from(&member.name);
        self.left = member.size;
        self.is_odd = member.size % 2 == 1;
        Ok(Some(member))
    }

    /// The content of the member that came last, or what is left of it. An archive that ends in it is an error.
    pub(super) const fn content(&mut self) -> Content<'_, R> {
        Content { members: self }
    }

    /// A member of an odd length is followed by one byte, a line feed; the last one may lack it.
    fn skip_padding(&mut self) -> Result<(), ArError> {
        if !std::mem::take(&mut self.is_odd) {
            return Ok(());
        }
        let at = self.at;
        let mut byte = [0];
        match (self.fill(&mut byte)?, byte) {
            (0, _) | (1, [b'\n']) => Ok(()),
            _ => Err(ArError::Header { at }),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ArError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ArError::Input { source }),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }
}

/// Reads the content of one member.
pub(super) struct Content<'a, R> {
    members: &'a mut Members<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let members = &mut *self.members;
        let most = usize::try_from(members.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = members.input.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the package ends in the middle of `{}`", members.name),
            ));
        }
        members.left -= count as u64;
        members.at += count as u64;
        Ok(count)
    }
}

/// A name with the spaces behind it, or the slash with which GNU ar ends names.
fn name(field: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(field).ok()?.trim_end_matches(' ');
    let text = text.strip_suffix('/').unwrap_or(text);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    (!text.is_empty() && text.bytes().all(is_name)).then(|| text.to_owned())
}

/// Decimal digits, then spaces.
fn number(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_end_matches(' ');
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}
