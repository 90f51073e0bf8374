//! Zip archives (PKWARE's APPNOTE 6.3), strictly.
//!
//! A zip says everything twice: in the directory at its end, and before each file. Readers that believe one or the
//! other see two archives in one (CVE-2024-24789), so both must say the same here. Nothing may overlap, for one
//! deflated file that many names share is a bomb; nothing may stand before the first file or after the end; sizes and
//! checksums must be true. Understood are files that are stored or deflated, and the modes and symbolic links of Unix.

use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::collect::{Collector, Content, Member};
use super::error::UnpackError;
use crate::decode::CHUNK;
use crate::decode::DecodeError;
use crate::entry::normalise;
use crate::escape::Escaped;
use crate::limits::Limits;
use crate::path::TreePath;
use crate::read_error::ReadError;
use crate::spool::Section;
use crate::tree::Attributes;

const FILE_HEADER: [u8; 4] = *b"PK\x03\x04";
const DIRECTORY_HEADER: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
const ZIP64_LOCATOR: [u8; 4] = *b"PK\x06\x07";

const FILE_HEADER_LENGTH: u64 = 30;
const DIRECTORY_HEADER_LENGTH: usize = 46;
const END_LENGTH: usize = 22;
const ZIP64_LOCATOR_LENGTH: usize = 20;
/// The longest comment at the end.
const COMMENT: usize = 0xffff;

/// Encrypted, in one of three ways (APPNOTE 4.4.4: bits 0, 6 and 13).
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// Sizes and checksum follow the content.
const STREAMED: u16 = 1 << 3;

/// File types of Unix, in the upper half of the external attributes.
const TYPE: u32 = 0o170_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;

/// Why a zip archive is not unpacked. Texts are escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZipError {
    /// It has no end, or not one end only.
    #[error("it has no end, or more than one that could be it: it may be cut off")]
    End,
    /// It has more than 65,534 entries, or 4 GiB.
    #[error("it is in the format for large archives (zip64), which is not supported")]
    Zip64,
    /// It is one of several parts.
    #[error("it is one part of several")]
    Split,
    /// Something stands before the first file, or between the directory and the end.
    #[error("it has bytes that belong to nothing, such as a program that unpacks it")]
    Gap,
    /// Its directory is damaged.
    #[error("its directory is damaged")]
    Directory,
    /// What stands before a file is not what the directory says of it.
    #[error("its directory and the file `{name}` itself say different things")]
    Mismatch {
        /// Which file, by the directory.
        name: String,
    },
    /// Files share bytes.
    #[error("`{name}` overlaps with another file")]
    Overlap {
        /// Which file.
        name: String,
    },
    /// It wants a password.
    #[error("`{name}` is encrypted")]
    Encrypted {
        /// Which file.
        name: String,
    },
    /// It is compressed in a way that is not supported.
    #[error("`{name}` is compressed by method {method}; supported are 0 (stored) and 8 (deflated)")]
    Method {
        /// Which file.
        name: String,
        /// The method's number (APPNOTE 4.4.5).
        method: u16,
    },
    /// A name has a backslash, which is a slash for some readers, or is no text.
    #[error("the name `{name}` has a backslash or is no text")]
    Name {
        /// The name.
        name: String,
    },
    /// What a name, a type and a size say together makes no sense.
    #[error("`{name}` cannot be what it says it is")]
    Kind {
        /// Which entry.
        name: String,
    },
    /// The content has not the size or the checksum that the directory says.
    #[error("the content of `{name}` is damaged")]
    Content {
        /// Which file.
        name: String,
    },
}

impl From<ZipError> for UnpackError {
    fn from(source: ZipError) -> Self {
        Self::Zip { source }
    }
}

fn input(source: io::Error) -> UnpackError {
    UnpackError::Input { source }
}

/// Whether a file that begins so is a zip archive; an empty one begins with its end.
pub(super) fn is_zip(first: &[u8]) -> bool {
    first.starts_with(&FILE_HEADER) || first.starts_with(&END)
}

/// One entry, as the directory has it.
struct Listed {
    name: Vec<u8>,
    path: Option<TreePath>,
    /// Bits of Unix, or none if another system made it.
    unix_mode: Option<u32>,
    flags: u16,
    method: u16,
    checksum: u32,
    compressed: u64,
    size: u64,
    header: u64,
}

impl Listed {
    fn shown(&self) -> String {
        shown(&self.name)
    }
}

fn shown(name: &[u8]) -> String {
    Escaped(&name[..name.len().min(TreePath::MAX)]).to_string()
}

/// Shows every entry to the collector, in the directory's order.
pub(super) fn read(
    archive: &File,
    size: u64,
    limits: &Limits,
    collector: &mut Collector<'_, '_>,
) -> Result<(), UnpackError> {
    let directory = find_directory(archive, size)?;
    let entries = read_directory(archive, &directory, limits)?;
    check_sizes(&entries, size, limits)?;
    let contents = check_contents(archive, &entries, directory.at)?;
    for (entry, content) in entries.iter().zip(contents) {
        if let Some(path) = &entry.path {
            extract(archive, entry, path, content, collector)?;
        }
    }
    Ok(())
}

/// Where the directory is.
struct Directory {
    at: u64,
    length: u64,
    entries: usize,
}

fn find_directory(archive: &File, size: u64) -> Result<Directory, UnpackError> {
    let length = size.min((ZIP64_LOCATOR_LENGTH + END_LENGTH + COMMENT) as u64);
    let tail = bytes(archive, size - length, length)?;
    let is_end = |at: &usize| {
        let rest = &tail[*at..];
        rest.starts_with(&END)
            && rest.len() >= END_LENGTH
            && rest.len() == END_LENGTH + usize::from(u16_at(rest, 20))
    };
    let mut ends = (0..tail.len()).filter(is_end);
    let (Some(at), None) = (ends.next(), ends.next()) else {
        return Err(ZipError::End.into());
    };
    let end = &tail[at..];
    let has_locator =
        at >= ZIP64_LOCATOR_LENGTH && tail[at - ZIP64_LOCATOR_LENGTH..].starts_with(&ZIP64_LOCATOR);
    let (entries, length, start) = (u16_at(end, 10), u32_at(end, 12), u32_at(end, 16));
    if has_locator || entries == u16::MAX || length == u32::MAX || start == u32::MAX {
        return Err(ZipError::Zip64.into());
    }
    if u16_at(end, 4) != 0 || u16_at(end, 6) != 0 || u16_at(end, 8) != entries {
        return Err(ZipError::Split.into());
    }
    let directory = Directory {
        at: u64::from(start),
        length: u64::from(length),
        entries: usize::from(entries),
    };
    let end_at = size - (tail.len() - at) as u64;
    if directory.at + directory.length != end_at {
        return Err(ZipError::Gap.into());
    }
    Ok(directory)
}

fn read_directory(
    archive: &File,
    directory: &Directory,
    limits: &Limits,
) -> Result<Vec<Listed>, UnpackError> {
    let tar = |source| UnpackError::Tar { source };
    if directory.length > limits.max_metadata {
        let limit = limits.max_metadata;
        return Err(tar(ReadError::Metadata { limit }));
    }
    if directory.entries as u64 > limits.max_entries {
        let limit = limits.max_entries;
        return Err(tar(ReadError::TooManyEntries { limit }));
    }
    let bytes = bytes(archive, directory.at, directory.length)?;
    let mut rest = &bytes[..];
    let mut entries = Vec::new();
    for _ in 0..directory.entries {
        let (entry, after) = listed(rest)?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(ZipError::Directory.into())
    }
}

/// The entry at the beginning of `rest`, and what comes after it.
fn listed(rest: &[u8]) -> Result<(Listed, &[u8]), UnpackError> {
    let damaged = || UnpackError::from(ZipError::Directory);
    if rest.len() < DIRECTORY_HEADER_LENGTH || !rest.starts_with(&DIRECTORY_HEADER) {
        return Err(damaged());
    }
    let (header, rest) = rest.split_at(DIRECTORY_HEADER_LENGTH);
    let name_length = usize::from(u16_at(header, 28));
    let more = usize::from(u16_at(header, 30)) + usize::from(u16_at(header, 32));
    let (name, rest) = rest.split_at_checked(name_length).ok_or_else(damaged)?;
    let (_, rest) = rest.split_at_checked(more).ok_or_else(damaged)?;
    let entry = Listed {
        path: path_of(name)?,
        name: name.to_vec(),
        unix_mode: unix_mode(header),
        flags: u16_at(header, 8),
        method: u16_at(header, 10),
        checksum: u32_at(header, 16),
        compressed: u64::from(u32_at(header, 20)),
        size: u64::from(u32_at(header, 24)),
        header: u64::from(u32_at(header, 42)),
    };
    check_listed(&entry, u16_at(header, 34))?;
    Ok((entry, rest))
}

/// The mode, where Unix (3) or macOS (19) made the entry and left one.
fn unix_mode(header: &[u8]) -> Option<u32> {
    let mode = u32_at(header, 38) >> 16;
    (matches!(header[5], 3 | 19) && mode != 0).then_some(mode)
}

fn path_of(name: &[u8]) -> Result<Option<TreePath>, UnpackError> {
    if name.contains(&b'\\') || std::str::from_utf8(name).is_err() {
        return Err(ZipError::Name { name: shown(name) }.into());
    }
    normalise(name).map_err(|source| match source {
        ReadError::Path { source } => UnpackError::Path { source },
        source => UnpackError::Tar { source },
    })
}

fn check_listed(entry: &Listed, disk: u16) -> Result<(), ZipError> {
    let name = entry.shown();
    let most = u64::from(u32::MAX);
    if entry.compressed == most || entry.size == most || entry.header == most {
        return Err(ZipError::Zip64);
    }
    if disk != 0 {
        return Err(ZipError::Split);
    }
    if entry.flags & ENCRYPTED != 0 {
        return Err(ZipError::Encrypted { name });
    }
    match entry.method {
        0 if entry.size != entry.compressed => Err(ZipError::Content { name }),
        0 | 8 => Ok(()),
        method => Err(ZipError::Method { name, method }),
    }
}

/// C7: what the directory says is what comes out, so that a bomb is known before its first byte.
fn check_sizes(entries: &[Listed], size: u64, limits: &Limits) -> Result<(), UnpackError> {
    let total: u64 = entries.iter().map(|entry| entry.size).sum();
    let by_ratio = size.saturating_mul(limits.max_ratio);
    let source = if total > limits.max_uncompressed {
        DecodeError::TooLarge {
            limit: limits.max_uncompressed,
        }
    } else if total > by_ratio.saturating_add(limits.ratio_allowance) {
        DecodeError::Ratio {
            limit: limits.max_ratio,
        }
    } else {
        return Ok(());
    };
    Err(UnpackError::TooLarge { source })
}

/// Where each entry's content begins, when every one is where it may be and says what the directory says.
fn check_contents(archive: &File, entries: &[Listed], end: u64) -> Result<Vec<u64>, UnpackError> {
    let mut starts = Vec::with_capacity(entries.len());
    let mut ranges = Vec::with_capacity(entries.len());
    for (number, entry) in entries.iter().enumerate() {
        let start = content_start(archive, entry, end)?;
        starts.push(start);
        ranges.push((entry.header, start + entry.compressed, number));
    }
    ranges.sort_unstable();
    let mut before = 0;
    for (from, to, number) in ranges {
        let name = || entries[number].shown();
        if from < before || to > end {
            return Err(ZipError::Overlap { name: name() }.into());
        }
        if before == 0 && from > 0 {
            return Err(ZipError::Gap.into());
        }
        before = to;
    }
    Ok(starts)
}

fn content_start(archive: &File, entry: &Listed, end: u64) -> Result<u64, UnpackError> {
    let mismatch = || UnpackError::from(ZipError::Mismatch { name: entry.shown() });
    let length = FILE_HEADER_LENGTH + entry.name.len() as u64;
    if entry.header + length > end {
        return Err(mismatch());
    }
    let bytes = bytes(archive, entry.header, length)?;
    let (header, name) = bytes.split_at(FILE_HEADER_LENGTH as usize);
    let flags = u16_at(header, 6);
    let is_same = header.starts_with(&FILE_HEADER)
        && usize::from(u16_at(header, 26)) == entry.name.len()
        && name == entry.name
        && u16_at(header, 8) == entry.method
        && flags & (ENCRYPTED | STREAMED) == entry.flags & (ENCRYPTED | STREAMED);
    let sizes = (u32_at(header, 14), u32_at(header, 18), u32_at(header, 22));
    let listed = (entry.checksum, entry.compressed, entry.size);
    let has_sizes = (sizes.0, u64::from(sizes.1), u64::from(sizes.2)) == listed;
    if !is_same || (!has_sizes && flags & STREAMED == 0) {
        return Err(mismatch());
    }
    Ok(entry.header + length + u64::from(u16_at(header, 28)))
}

/// What an entry is, by its name and mode.
#[derive(Clone, Copy)]
enum Kind {
    Directory,
    File,
    Symlink,
    Special,
}

fn kind(entry: &Listed) -> Result<Kind, ZipError> {
    let is_directory = entry.name.ends_with(b"/");
    let kind = match entry.unix_mode.map_or(0, |mode| mode & TYPE) {
        TYPE_DIRECTORY if is_directory => Kind::Directory,
        TYPE_FILE if !is_directory => Kind::File,
        TYPE_SYMLINK if !is_directory => Kind::Symlink,
        0 if is_directory => Kind::Directory,
        0 => Kind::File,
        TYPE_DIRECTORY | TYPE_FILE | TYPE_SYMLINK => {
            return Err(ZipError::Kind { name: entry.shown() });
        }
        _ => Kind::Special,
    };
    let has_impossible_size = match kind {
        Kind::Directory => entry.size > 0,
        Kind::Symlink => entry.size == 0 || entry.size > TreePath::MAX as u64,
        Kind::File | Kind::Special => false,
    };
    if has_impossible_size {
        return Err(ZipError::Kind { name: entry.shown() });
    }
    Ok(kind)
}

fn extract(
    archive: &File,
    entry: &Listed,
    path: &TreePath,
    start: u64,
    collector: &mut Collector<'_, '_>,
) -> Result<(), UnpackError> {
    let kind = kind(entry)?;
    let usual = match kind {
        Kind::Directory => 0o755,
        _ => 0o644,
    };
    let bits = entry
        .unix_mode
        .map(|mode| mode & 0o7777)
        .filter(|bits| *bits != 0);
    let member = Member {
        path: path.clone(),
        attributes: Attributes {
            mode: bits.unwrap_or(usual),
            ..Attributes::default()
        },
    };
    let section = Section::new(archive, start, entry.compressed);
    let section = BufReader::with_capacity(CHUNK, section);
    if entry.method == 8 {
        let mut content = Checked::new(DeflateDecoder::new(section), entry);
        take(kind, member, &mut content, collector)?;
        let unread = content.finish(entry)?;
        return whole(unread.total_in() == entry.compressed, entry);
    }
    let mut content = Checked::new(section, entry);
    take(kind, member, &mut content, collector)?;
    let unread = content.finish(entry)?;
    whole(unread.buffer().is_empty() && unread.get_ref().left() == 0, entry)
}

fn take(
    kind: Kind,
    member: Member,
    content: &mut dyn Read,
    collector: &mut Collector<'_, '_>,
) -> Result<(), UnpackError> {
    match kind {
        Kind::Directory => collector.add(member, Content::Directory),
        Kind::File if is_reserved(&member.path) => collector.add(member, Content::Removal),
        Kind::File => collector.add(member, Content::File(content)),
        Kind::Symlink => {
            let mut target = Vec::new();
            content.read_to_end(&mut target).map_err(input)?;
            collector.add(member, Content::Symlink(target))
        }
        Kind::Special => collector.add(member, Content::Special),
    }
}

/// In a tar archive the reader of layers says so; a zip has no whiteouts at all.
fn is_reserved(path: &TreePath) -> bool {
    path.components().any(|name| name.starts_with(b".wh."))
}

fn whole(is_whole: bool, entry: &Listed) -> Result<(), UnpackError> {
    match is_whole {
        true => Ok(()),
        false => Err(ZipError::Content { name: entry.shown() }.into()),
    }
}

/// Counts and sums up what is read, and reads one byte further than it should be long at most.
struct Checked<R> {
    inner: R,
    left: u64,
    checksum: Crc,
    is_longer: bool,
}

impl<R: Read> Checked<R> {
    fn new(inner: R, entry: &Listed) -> Self {
        Self {
            inner,
            left: entry.size,
            checksum: Crc::new(),
            is_longer: false,
        }
    }

    /// Reads what nobody wanted, and says whether all of it was as it should be.
    fn finish(mut self, entry: &Listed) -> Result<R, UnpackError> {
        io::copy(&mut self, &mut io::sink()).map_err(input)?;
        whole(
            !self.is_longer && self.left == 0 && self.checksum.sum() == entry.checksum,
            entry,
        )?;
        Ok(self.inner)
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.is_longer {
            return Ok(0);
        }
        if self.left == 0 {
            // The decoder sees its end only when it is asked for more.
            self.is_longer = self.inner.read(&mut [0])? > 0;
            return Ok(0);
        }
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.inner.read(&mut buffer[..most])?;
        self.left -= count as u64;
        self.checksum.update(&buffer[..count]);
        Ok(count)
    }
}

fn bytes(archive: &File, at: u64, length: u64) -> Result<Vec<u8>, UnpackError> {
    let mut bytes = Vec::new();
    let mut section = Section::new(archive, at, length);
    section.read_to_end(&mut bytes).map_err(input)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
