//! The members of a tar archive and where each is, read within bounds.
//!
//! Only what archives of images have is understood: files, directories, and links to files of the archive (`docker save`
//! writes them for layers that are there twice). Everything else is refused, so that no two readers can see different
//! archives: a name that is there twice, sparse files, devices, headers for the whole archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tar::Header;

use super::damaged;
use crate::error::RepositoryError;
use crate::files::FileError;

const BLOCK: u64 = 512;
/// Most members of one archive.
const MEMBER_LIMIT: usize = 100_000;
/// Longest header extension, in bytes.
const EXTENSION_LIMIT: u64 = 64 << 10;
/// Longest name, in bytes.
const NAME_LIMIT: usize = 4096;

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Span {
    /// All of it. The caller has bounded the size.
    pub(super) fn read(self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// What a name of the archive stands for.
#[derive(Debug)]
enum Member {
    File(Span),
    /// The name of another member.
    Link(String),
}

/// The members by name.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<String, Member>);

impl Members {
    /// The file `name`. One link is followed: a link to a link is none that any tool writes.
    pub(super) fn file(&self, name: &str) -> Option<Span> {
        match self.0.get(name)? {
            Member::File(span) => Some(*span),
            Member::Link(target) => match self.0.get(target)? {
                Member::File(span) => Some(*span),
                Member::Link(_) => None,
            },
        }
    }

    /// The files whose names begin with `prefix`, with the rest of the name.
    pub(super) fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Span)> {
        let from = self.0.range(prefix.to_owned()..);
        let below = from.map_while(move |(name, member)| Some((name.strip_prefix(prefix)?, member)));
        below.filter_map(|(rest, member)| match member {
            Member::File(span) => Some((rest, *span)),
            Member::Link(_) => None,
        })
    }
}

/// Lists the members of the archive `file`; `path` is for messages.
pub(super) fn scan(file: &File, path: &Path) -> Result<Members, RepositoryError> {
    let length = file.metadata().map_err(FileError::on("read", path))?.len();
    let mut scan = Scan {
        file,
        path,
        length,
        offset: 0,
        extension: Extension::default(),
        members: Members::default(),
    };
    while scan.member()? {}
    if scan.extension != Extension::default() {
        return Err(damaged(path, "it ends after a header extension"));
    }
    Ok(scan.members)
}

/// What a header extension says of the member after it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

struct Scan<'a> {
    file: &'a File,
    path: &'a Path,
    length: u64,
    offset: u64,
    extension: Extension,
    members: Members,
}

impl Scan<'_> {
    fn damaged(&self, detail: impl Into<String>) -> RepositoryError {
        damaged(self.path, detail)
    }

    fn read(&self, span: Span) -> Result<Vec<u8>, RepositoryError> {
        let read = span.read(self.file);
        Ok(read.map_err(FileError::on("read", self.path))?)
    }

    /// Reads one header and steps over its content; `false` at the end of the archive.
    fn member(&mut self) -> Result<bool, RepositoryError> {
        if self.offset == self.length && !self.members.0.is_empty() {
            return Ok(false);
        }
        if self.length - self.offset < BLOCK {
            return Err(self.damaged("it is no tar archive, or it is cut off"));
        }
        let block = self.read(Span {
            offset: self.offset,
            size: BLOCK,
        })?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        let header = Header::from_byte_slice(&block);
        if !has_checksum(header) {
            return Err(self.damaged("it is no tar archive, or a header of it is damaged"));
        }
        self.offset += BLOCK;
        self.entry(header)?;
        Ok(true)
    }

    fn entry(&mut self, header: &Header) -> Result<(), RepositoryError> {
        let kind = header.as_bytes()[156];
        if matches!(kind, b'x' | b'L' | b'K') {
            return self.extension(header, kind);
        }
        let extension = std::mem::take(&mut self.extension);
        let name = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = self.name(&name)?;
        let span = match kind {
            b'0' | b'\0' | b'7' => self.span(header, extension.size)?,
            // Links and directories have no content, whatever the field says.
            _ => Span {
                offset: self.offset,
                size: 0,
            },
        };
        let link = || {
            let named = extension
                .link
                .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
            named.unwrap_or_default()
        };
        let member = match kind {
            b'5' => return Ok(()),
            // A name that ends in a slash is a directory, as before there was a type for them.
            b'0' | b'\0' | b'7' => Member::File(span),
            b'1' => Member::Link(self.name(&link())?),
            b'2' => Member::Link(self.symbolic(&name, &link())?),
            _ => return Err(self.damaged(format!("{name} is neither a file, a directory nor a link"))),
        };
        self.step_over(span)?;
        if self.members.0.len() >= MEMBER_LIMIT {
            return Err(self.damaged(format!("it has more than {MEMBER_LIMIT} members")));
        }
        if self.members.0.contains_key(&name) {
            return Err(self.damaged(format!("it has {name} twice")));
        }
        self.members.0.insert(name, member);
        Ok(())
    }

    /// Where the content of the member is that begins here.
    fn span(&self, header: &Header, extended: Option<u64>) -> Result<Span, RepositoryError> {
        let size = match extended {
            Some(size) => size,
            None => header
                .entry_size()
                .map_err(|_| self.damaged("a header has no size"))?,
        };
        if size > self.length - self.offset {
            return Err(self.damaged("it is cut off"));
        }
        Ok(Span {
            offset: self.offset,
            size,
        })
    }

    fn step_over(&mut self, span: Span) -> Result<(), RepositoryError> {
        // At most the file's length, rounded up: no overflow.
        let end = (span.offset + span.size).next_multiple_of(BLOCK);
        // The last block may lack its filling.
        self.offset = end.min(self.length);
        Ok(())
    }

    fn extension(&mut self, header: &Header, kind: u8) -> Result<(), RepositoryError> {
        let span = self.span(header, None)?;
        if span.size > EXTENSION_LIMIT {
            return Err(self.damaged(format!(
                "a header extension is longer than {EXTENSION_LIMIT} bytes"
            )));
        }
        let bytes = self.read(span)?;
        self.step_over(span)?;
        let text = || bytes.strip_suffix(b"\0").unwrap_or(&bytes).to_vec();
        let field = match kind {
            b'L' => &mut self.extension.path,
            b'K' => &mut self.extension.link,
            _ => return self.records(&bytes),
        };
        *field = Some(text());
        Ok(())
    }

    fn records(&mut self, mut bytes: &[u8]) -> Result<(), RepositoryError> {
        while !bytes.is_empty() {
            let (key, value, rest) =
                record(bytes).ok_or_else(|| self.damaged("a header extension cannot be read"))?;
            bytes = rest;
            match key {
                b"path" => self.extension.path = Some(value.to_vec()),
                b"linkpath" => self.extension.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    let size = size.ok_or_else(|| self.damaged("a header extension has no size"))?;
                    self.extension.size = Some(size);
                }
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(self.damaged("it has a sparse file"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A name within the archive, without `./` before it and a slash behind it.
    fn name(&self, bytes: &[u8]) -> Result<String, RepositoryError> {
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() <= NAME_LIMIT);
        let text = text.filter(|text| !text.starts_with('/') && !text.contains('\0'));
        let parts = text.map(|text| text.split('/').filter(|part| !matches!(*part, "" | ".")));
        match parts.map(Iterator::collect::<Vec<_>>) {
            Some(parts) if !parts.contains(&"..") => Ok(parts.join("/")),
            _ => Err(self.damaged(format!("the name {} leads out of it", shown()))),
        }
    }

    /// The member that the symbolic link `name` points at.
    fn symbolic(&self, name: &str, target: &[u8]) -> Result<String, RepositoryError> {
        let out = || self.damaged(format!("the link {name} leads out of it"));
        let target = std::str::from_utf8(target).map_err(|_| out())?;
        if target.starts_with('/') || target.len() > NAME_LIMIT {
            return Err(out());
        }
        let mut parts: Vec<&str> = name.split('/').collect();
        parts.pop();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." if parts.pop().is_none() => return Err(out()),
                ".." => {}
                part => parts.push(part),
            }
        }
        Ok(parts.join("/"))
    }
}

/// The sum of all bytes, with the field of the sum itself as spaces.
fn has_checksum(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum: u32 = bytes.iter().copied().map(u32::from).sum();
    let field: u32 = bytes[148..156].iter().copied().map(u32::from).sum();
    header
        .cksum()
        .is_ok_and(|stated| stated == sum - field + 8 * u32::from(b' '))
}

/// `LENGTH KEY=VALUE\n`: key, value, and what follows.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    if length > bytes.len() || length <= space + 1 {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}
