//! Taking a foreign tar archive apart: one member after the other, strictly.
//!
//! Two readers that understand an archive differently are how content is smuggled past the one that checks it. So
//! whatever the formats leave open, or the readers in use disagree about, is an error here: a size stated twice with
//! two values, data behind a header that has none, a record given twice, sparse files, bytes after the end.
//! Understood are ustar, GNU long names, and PAX headers.

use std::io::{self, BufRead, Read};

use tar::{EntryType, Header};

use crate::header::{BLOCK, padding};
use crate::limits::Limits;
use crate::pax::{self, Records};
use crate::read_error::ReadError;

/// Sizes from here on do not fit into a ustar header.
const LARGE: u64 = 8 << 30;

/// One member as its headers say it: names are not checked yet.
#[derive(Debug)]
pub(crate) struct RawMember {
    /// Where its header starts in the archive.
    pub(crate) at: u64,
    pub(crate) kind: EntryType,
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    pub(crate) device: (u32, u32),
    /// Extended attributes: name and value.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// How an archive came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By its two zero blocks.
    Marked,
    /// The bytes were over.
    Unmarked,
}

/// What comes next in an archive.
#[derive(Debug)]
pub(crate) enum Step {
    Member(RawMember),
    End(End),
}

/// Reads members from the bytes of a tar archive.
pub(crate) struct Archive<R> {
    input: R,
    position: u64,
    content_left: u64,
    padding: usize,
    max_extension: u64,
}

#[derive(Default)]
struct Extensions {
    records: Option<Records>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    const fn is_empty(&self) -> bool {
        self.records.is_none() && self.name.is_none() && self.link.is_none()
    }

    fn record(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.as_ref()?.get(key).map(Vec::as_slice)
    }
}

impl<R: BufRead> Archive<R> {
    pub(crate) const fn new(input: R, limits: &Limits) -> Self {
        Self {
            input,
            position: 0,
            content_left: 0,
            padding: 0,
            max_extension: limits.max_extension,
        }
    }

    /// The next member, or how the archive ended. What is left of the member before is skipped.
    pub(crate) fn step(&mut self) -> Result<Step, ReadError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let at = self.position;
            let Some(header) = self.read_header()? else {
                let end = self.finish(at)?;
                return if extensions.is_empty() {
                    Ok(Step::End(end))
                } else {
                    Err(ReadError::Truncated { at })
                };
            };
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader => {
                    let records = self.read_records(at, &header)?;
                    set_once(&mut extensions.records, records, at)?;
                }
                EntryType::XGlobalHeader => self.read_global(at, &header)?,
                EntryType::GNULongName => {
                    let name = self.read_long(at, &header)?;
                    set_once(&mut extensions.name, name, at)?;
                }
                EntryType::GNULongLink => {
                    let link = self.read_long(at, &header)?;
                    set_once(&mut extensions.link, link, at)?;
                }
                _ => return self.member(at, kind, &header, &extensions).map(Step::Member),
            }
        }
    }

    fn member(
        &mut self,
        at: u64,
        kind: EntryType,
        header: &Header,
        extensions: &Extensions,
    ) -> Result<RawMember, ReadError> {
        let member = decode(at, kind, header, extensions)?;
        self.content_left = member.size;
        self.padding = padding(member.size);
        Ok(member)
    }

    /// The header at the current position; none for a block of zeros and at the end of the bytes.
    fn read_header(&mut self) -> Result<Option<Header>, ReadError> {
        let at = self.position;
        let mut header = Header::new_old();
        match self.read_block(header.as_mut_bytes())? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(ReadError::Truncated { at }),
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        check_sum(at, &header)?;
        Ok(Some(header))
    }

    /// Reads a block, or what is left of the archive if that is less.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::from_input(error)),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    /// After a block of zeros, or nothing: only zeros may follow.
    fn finish(&mut self, at: u64) -> Result<End, ReadError> {
        let end = if self.position == at {
            End::Unmarked
        } else {
            End::Marked
        };
        loop {
            let bytes = fill(&mut self.input)?;
            if bytes.is_empty() {
                return Ok(end);
            }
            if let Some(index) = bytes.iter().position(|byte| *byte != 0) {
                return Err(ReadError::TrailingData {
                    at: self.position + index as u64,
                });
            }
            let count = bytes.len();
            self.consume(count);
        }
    }

    fn skip_content(&mut self) -> Result<(), ReadError> {
        let at = self.position;
        let mut left = self.content_left + self.padding as u64;
        (self.content_left, self.padding) = (0, 0);
        while left > 0 {
            let available = fill(&mut self.input)?.len();
            if available == 0 {
                return Err(ReadError::Truncated { at });
            }
            let count = usize::try_from(left).map_or(available, |left| left.min(available));
            self.consume(count);
            left -= count as u64;
        }
        Ok(())
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.position += count as u64;
    }

    fn read_records(&mut self, at: u64, header: &Header) -> Result<Records, ReadError> {
        let content = self.read_extension(at, header)?;
        pax::parse(&content).ok_or(ReadError::Extension { at })
    }

    /// Global headers hold comments (`git archive` writes the commit). One that changed later members is refused.
    fn read_global(&mut self, at: u64, header: &Header) -> Result<(), ReadError> {
        let records = self.read_records(at, header)?;
        match records.keys().all(|key| key == b"comment") {
            true => Ok(()),
            false => Err(ReadError::Extension { at }),
        }
    }

    /// The content of a GNU long name: up to the NUL that ends it. GNU tar looks for that beyond the content too, so what fills
    /// the block must be zeros.
    fn read_long(&mut self, at: u64, header: &Header) -> Result<Vec<u8>, ReadError> {
        let content = self.read_extension(at, header)?;
        self.content_left = std::mem::take(&mut self.padding) as u64;
        let mut filling = Vec::new();
        self.content()
            .read_to_end(&mut filling)
            .map_err(ReadError::from_input)?;
        let name = until_nul(&content);
        let mut behind = content[name.len()..].iter().chain(&filling);
        match behind.all(|byte| *byte == 0) {
            true => Ok(name.to_vec()),
            false => Err(ReadError::Extension { at }),
        }
    }

    fn read_extension(&mut self, at: u64, header: &Header) -> Result<Vec<u8>, ReadError> {
        let size = unsigned(at, "size", &header.as_old().size)?;
        if size > self.max_extension {
            return Err(ReadError::ExtensionTooLarge {
                at,
                limit: self.max_extension,
            });
        }
        self.content_left = size;
        self.padding = padding(size);
        let mut content = Vec::new();
        self.content()
            .read_to_end(&mut content)
            .map_err(ReadError::from_input)?;
        Ok(content)
    }

    /// The content of the member that came last, or what is left of it.
    pub(crate) const fn content(&mut self) -> Content<'_, R> {
        Content { archive: self }
    }
}

/// Reads the content of one member.
pub(crate) struct Content<'a, R> {
    archive: &'a mut Archive<R>,
}

impl<R: BufRead> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let archive = &mut *self.archive;
        let most = usize::try_from(archive.content_left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = archive.input.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        archive.content_left -= count as u64;
        archive.position += count as u64;
        Ok(count)
    }
}

fn fill(input: &mut impl BufRead) -> Result<&[u8], ReadError> {
    // The loop that a retry needs cannot return what it borrowed, so interruptions are retried before.
    while let Err(error) = input.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(ReadError::from_input(error));
        }
    }
    input.fill_buf().map_err(ReadError::from_input)
}

fn set_once<T>(slot: &mut Option<T>, value: T, at: u64) -> Result<(), ReadError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ReadError::Extension { at }),
    }
}

fn decode(
    at: u64,
    kind: EntryType,
    header: &Header,
    extensions: &Extensions,
) -> Result<RawMember, ReadError> {
    let fields = header.as_old();
    let number = |key: &[u8], field: &'static str, bytes: &[u8]| match extensions.record(key) {
        Some(text) => pax::parse_decimal(text).ok_or(ReadError::Extension { at }),
        None => unsigned(at, field, bytes),
    };
    let small = |field, value: u64| u32::try_from(value).map_err(|_| ReadError::Header { at, field });
    if extensions
        .records
        .iter()
        .flat_map(Records::keys)
        .any(|key| key.starts_with(b"GNU.sparse.") || key == b"SCHILY.realsize")
    {
        return Err(ReadError::Sparse { at });
    }
    // bsdtar sees no link if the field is empty, whatever an extension says. Writers put the target's start there.
    let is_elsewhere = match kind {
        EntryType::Link => extensions.link.is_some() || extensions.record(b"linkpath").is_some(),
        EntryType::Symlink => extensions.link.is_some(),
        _ => false,
    };
    if is_elsewhere && until_nul(&fields.linkname).is_empty() {
        return Err(ReadError::Extension { at });
    }
    Ok(RawMember {
        at,
        kind,
        name: text(at, extensions, b"path", extensions.name.as_ref())?.unwrap_or_else(|| header_name(header)),
        link: text(at, extensions, b"linkpath", extensions.link.as_ref())?
            .unwrap_or_else(|| until_nul(&fields.linkname).to_vec()),
        // Some tools put the file's type above the twelve bits.
        mode: small("mode", unsigned(at, "mode", &fields.mode)?)? & 0o7777,
        uid: small("uid", number(b"uid", "uid", &fields.uid)?)?,
        gid: small("gid", number(b"gid", "gid", &fields.gid)?)?,
        mtime: match extensions.record(b"mtime") {
            Some(text) => pax::parse_time(text).ok_or(ReadError::Extension { at })?,
            None => signed(at, "mtime", &fields.mtime)?,
        },
        size: size(at, header, extensions)?,
        device: device(at, header, kind)?,
        xattrs: xattrs(extensions),
    })
}

/// A name of the PAX header, or of a GNU long name; both at once contradict each other.
fn text(
    at: u64,
    extensions: &Extensions,
    key: &[u8],
    gnu: Option<&Vec<u8>>,
) -> Result<Option<Vec<u8>>, ReadError> {
    match (extensions.record(key), gnu) {
        (Some(_), Some(_)) => Err(ReadError::Extension { at }),
        (Some(value), None) => Ok(Some(value.to_vec())),
        (None, gnu) => Ok(gnu.cloned()),
    }
}

fn header_name(header: &Header) -> Vec<u8> {
    let name = until_nul(&header.as_old().name);
    match header.as_ustar().map(|fields| until_nul(&fields.prefix)) {
        Some(prefix) if !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}

/// The PAX size replaces the header's. Readers that know no PAX would go on at another place, unless both are the same,
/// or the size is one that no header can say.
fn size(at: u64, header: &Header, extensions: &Extensions) -> Result<u64, ReadError> {
    let field = &header.as_old().size;
    let Some(record) = extensions.record(b"size") else {
        return unsigned(at, "size", field);
    };
    let size = pax::parse_decimal(record).filter(|size| i64::try_from(*size).is_ok());
    let size = size.ok_or(ReadError::Extension { at })?;
    if size < LARGE && unsigned(at, "size", field)? != size {
        return Err(ReadError::Header { at, field: "size" });
    }
    Ok(size)
}

fn device(at: u64, header: &Header, kind: EntryType) -> Result<(u32, u32), ReadError> {
    if !matches!(kind, EntryType::Char | EntryType::Block) {
        return Ok((0, 0));
    }
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(fields), _) => (&fields.dev_major, &fields.dev_minor),
        (None, Some(fields)) => (&fields.dev_major, &fields.dev_minor),
        (None, None) => return Err(ReadError::Header { at, field: "device" }),
    };
    let number = |bytes| {
        let value = unsigned(at, "device", bytes)?;
        u32::try_from(value).map_err(|_| ReadError::Header { at, field: "device" })
    };
    Ok((number(major)?, number(minor)?))
}

fn xattrs(extensions: &Extensions) -> Vec<(Vec<u8>, Vec<u8>)> {
    let records = extensions.records.iter().flatten();
    let named = records.filter_map(|(key, value)| Some((key.strip_prefix(pax::XATTR)?, value)));
    named
        .map(|(name, value)| (name.to_vec(), value.clone()))
        .collect()
}

fn check_sum(at: u64, header: &Header) -> Result<(), ReadError> {
    let (before, after) = (&header.as_bytes()[..148], &header.as_bytes()[156..]);
    let sum: u64 = before.iter().chain(after).copied().map(u64::from).sum();
    let sum = sum + 8 * u64::from(b' ');
    match unsigned(at, "checksum", &header.as_old().cksum)? == sum {
        true => Ok(()),
        false => Err(ReadError::Header {
            at,
            field: "checksum",
        }),
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn unsigned(at: u64, field: &'static str, bytes: &[u8]) -> Result<u64, ReadError> {
    let value = signed(at, field, bytes)?;
    u64::try_from(value).map_err(|_| ReadError::Header { at, field })
}

fn signed(at: u64, field: &'static str, bytes: &[u8]) -> Result<i64, ReadError> {
    let value = if bytes[0] & 0x80 == 0 {
        octal(bytes)
    } else {
        binary(bytes)
    };
    value.ok_or(ReadError::Header { at, field })
}

/// Octal digits between spaces before, and spaces and NULs after; NULs alone are zero. Spaces alone are none: some readers
/// take them for zero, and GNU tar refuses them.
fn octal(bytes: &[u8]) -> Option<i64> {
    let start = bytes.iter().position(|byte| *byte != b' ')?;
    let bytes = &bytes[start..];
    let end = bytes
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(bytes.len());
    if !bytes[end..].iter().all(|byte| matches!(byte, 0 | b' ')) {
        return None;
    }
    bytes[..end].iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// GNU's binary numbers: two's complement, of which the first bit says that it is one.
fn binary(bytes: &[u8]) -> Option<i64> {
    let negative = bytes[0] & 0x40 != 0;
    let first = if negative {
        i64::from(bytes[0]) - 0x100
    } else {
        i64::from(bytes[0] & 0x7f)
    };
    bytes[1..].iter().try_fold(first, |value, byte| {
        value.checked_mul(256)?.checked_add(i64::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_numbers_are_read_as_tools_write_them() {
        for (text, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"   644 \0", 0o644),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"77777777", 0o7777_7777),
        ] {
            assert_eq!(octal(text), Some(value), "{text:?}");
        }
        for bad in [
            &b"0000648\0"[..],
            b"-0000644",
            b"64 4\0\0\0\0",
            b"0x1\0\0\0\0\0",
            b"6\x004\0\0\0\0\0",
            b"        ",
        ] {
            assert_eq!(octal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn c2_binary_numbers_may_be_negative_and_must_fit() {
        assert_eq!(binary(&[0x80, 0, 0, 1, 0]), Some(256));
        assert_eq!(
            binary(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]),
            Some(-2)
        );
        assert_eq!(binary(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert!(unsigned(0, "size", &[0xff; 12]).is_err());
    }
}
