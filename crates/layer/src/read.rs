//! Reading foreign layers and root file systems, without ever writing to a disk.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};

use cairn_oci::{Digest, Hasher};
use tar::EntryType;

use crate::archive::{Archive, End, RawMember, Step};
use crate::compress::{Compression, WrittenLayer};
use crate::decode::{CHUNK, Encoding, sniffing_decoder};
use crate::entry::{Entry, EntryKind, attributes, checked_entry, member_kind, normalise};
use crate::limits::Limits;
use crate::path::TreePath;
use crate::pipeline::Engine;
use crate::read_error::{OutputFailed, ReadError, VisitError};
use crate::tree::Attributes;

/// What was read, to the last byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSummary {
    /// Of the bytes as they were given.
    pub digest: Digest,
    /// How many they were.
    pub size: u64,
    /// Of the tar archive.
    pub diff_id: Digest,
    /// Bytes of the tar archive.
    pub uncompressed_size: u64,
    /// Entries, without the root directory.
    pub entries: u64,
    /// How it was compressed.
    pub encoding: Encoding,
    /// What the layer says of the root directory itself.
    pub root: Option<Attributes>,
}

/// Reads a layer, or a root file system, in whatever of the four encodings it is, and shows each entry to `visit`.
///
/// Every entry is checked before it is shown: paths are relative, without `.` and `..` (a leading `/` or `./` is
/// dropped), hard links stay inside, nothing is there twice (but directories, of which the last counts), whiteouts are
/// what the image specification says. Symbolic links may point anywhere; nothing here follows them. The second
/// argument of `visit` gives the content of a file; what the visitor leaves is skipped.
///
/// The bytes are read to the end, so that the digests in the summary are those of all of them.
///
/// # Errors
///
/// [`ReadError`]. What was visited before is then not to be used.
pub fn read_layer<R: Read>(
    reader: R,
    limits: &Limits,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), VisitError>,
) -> Result<ReadSummary, ReadError> {
    read_through(reader, limits, &mut io::sink(), visit)
}

/// [`Engine::recompress`] on one thread and without a cache.
///
/// # Errors
///
/// [`ReadError`].
pub fn recompress<R: Read>(
    reader: R,
    limits: &Limits,
    compression: Compression,
    out: &mut (dyn Write + Send),
) -> Result<WrittenLayer, ReadError> {
    Engine::default().recompress(reader, limits, compression, out)
}

impl Engine {
    /// Compresses the tar archive in `reader` anew: the same archive, byte for byte, in our compression.
    ///
    /// For a root file system that is given as a file. It is checked like a layer on the way.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; what was written so far is then no layer.
    pub fn recompress<R: Read>(
        &self,
        reader: R,
        limits: &Limits,
        compression: Compression,
        out: &mut (dyn Write + Send),
    ) -> Result<WrittenLayer, ReadError> {
        let output = |source| ReadError::Output { source };
        let (summary, totals) = self.run(compression, out, output, |segments| {
            read_through(reader, limits, segments, &mut |_, _| Ok(()))
        })?;
        Ok(totals.layer(summary.entries))
    }
}

fn read_through<R: Read>(
    reader: R,
    limits: &Limits,
    copy: &mut dyn Write,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), VisitError>,
) -> Result<ReadSummary, ReadError> {
    let mut compressed = Tap {
        inner: reader,
        hasher: Hasher::new(),
        copy: &mut io::sink(),
    };
    let mut checker = Checker::new(limits);
    let (encoding, end, tar) = read_decoded(&mut compressed, copy, &mut checker, visit)?;
    if end == End::Unmarked && encoding == Encoding::Tar {
        return Err(ReadError::Truncated { at: tar.length() });
    }
    // The decoders stop at the end of their input; this makes sure of it.
    if io::copy(&mut compressed, &mut io::sink()).map_err(ReadError::from_input)? > 0 {
        return Err(ReadError::TrailingData { at: tar.length() });
    }
    Ok(ReadSummary {
        size: compressed.hasher.length(),
        digest: compressed.hasher.finish(),
        uncompressed_size: tar.length(),
        diff_id: tar.finish(),
        entries: checker.entries,
        encoding,
        root: checker.root,
    })
}

fn read_decoded<R: Read>(
    compressed: R,
    copy: &mut dyn Write,
    checker: &mut Checker<'_>,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), VisitError>,
) -> Result<(Encoding, End, Hasher), ReadError> {
    let (encoding, decoder) = sniffing_decoder(compressed, checker.limits).map_err(ReadError::from_input)?;
    let mut tar = Tap {
        inner: decoder,
        hasher: Hasher::new(),
        copy,
    };
    let end = checker.read_all(BufReader::with_capacity(CHUNK, &mut tar), visit)?;
    Ok((encoding, end, tar.hasher))
}

/// Hashes and copies what is read through it.
struct Tap<'a, R> {
    inner: R,
    hasher: Hasher,
    copy: &'a mut dyn Write,
}

impl<R: Read> Read for Tap<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.copy
            .write_all(&buffer[..count])
            .map_err(|error| io::Error::other(OutputFailed(error)))?;
        Ok(count)
    }
}

/// What a path is, as far as other paths must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Directory,
    Symlink,
    Other,
}

/// The first half of a path's SHA-256: paths of any length in 16 bytes.
type PathKey = [u8; 16];

/// Checks each entry, and against those before.
struct Checker<'a> {
    limits: &'a Limits,
    entries: u64,
    metadata: u64,
    root: Option<Attributes>,
    seen: BTreeMap<PathKey, Seen>,
}

impl<'a> Checker<'a> {
    const fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            entries: 0,
            metadata: 0,
            root: None,
            seen: BTreeMap::new(),
        }
    }

    fn read_all(
        &mut self,
        tar: BufReader<impl Read>,
        visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), VisitError>,
    ) -> Result<End, ReadError> {
        let mut archive = Archive::new(tar, self.limits);
        loop {
            let member = match archive.step()? {
                Step::Member(member) => member,
                Step::End(end) => return Ok(end),
            };
            let Some(entry) = self.check(member)? else {
                continue;
            };
            let mut content = Latched {
                inner: archive.content(),
                failed: None,
            };
            let result = visit(&entry, &mut content);
            if let Some(error) = content.failed {
                return Err(ReadError::from_input(error));
            }
            result.map_err(|source| visit_error(entry.path, source))?;
        }
    }

    /// The entry that a member is; none for the root.
    fn check(&mut self, member: RawMember) -> Result<Option<Entry>, ReadError> {
        self.count(&member)?;
        let kind = member_kind(&member)?;
        let Some(path) = normalise(&member.name)? else {
            return self.take_root(kind, member).map(|()| None);
        };
        let entry = checked_entry(path, kind, member)?;
        self.check_against_others(&entry)?;
        self.entries += 1;
        Ok(Some(entry))
    }

    fn count(&mut self, member: &RawMember) -> Result<(), ReadError> {
        if self.entries >= self.limits.max_entries {
            return Err(ReadError::TooManyEntries {
                limit: self.limits.max_entries,
            });
        }
        let xattrs: usize = member
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.metadata += (member.name.len() + member.link.len() + xattrs) as u64;
        if self.metadata > self.limits.max_metadata {
            return Err(ReadError::Metadata {
                limit: self.limits.max_metadata,
            });
        }
        Ok(())
    }

    fn take_root(&mut self, kind: EntryType, member: RawMember) -> Result<(), ReadError> {
        if kind != EntryType::Directory {
            return Err(ReadError::Root);
        }
        self.root = Some(attributes(member));
        Ok(())
    }

    fn check_against_others(&mut self, entry: &Entry) -> Result<(), ReadError> {
        for ancestor in entry.path.ancestors() {
            if self.seen.get(&path_key(&ancestor, false)) == Some(&Seen::Other) {
                return Err(ReadError::NotADirectory {
                    path: entry.path.clone(),
                    ancestor,
                });
            }
        }
        let kind = match entry.kind {
            EntryKind::Directory => Seen::Directory,
            EntryKind::Symlink { .. } => Seen::Symlink,
            _ => Seen::Other,
        };
        // A whiteout and a new file of the same name are two entries.
        let key = path_key(&entry.path, entry.kind == EntryKind::Whiteout);
        match self.seen.insert(key, kind) {
            Some(before) if (before, kind) != (Seen::Directory, Seen::Directory) => {
                Err(ReadError::Duplicate {
                    path: entry.path.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// A visitor that says what we say ourselves is taken at its word.
fn visit_error(path: TreePath, source: VisitError) -> ReadError {
    match source.downcast::<ReadError>() {
        Ok(ours) => *ours,
        Err(source) => ReadError::Visit { path, source },
    }
}

fn path_key(path: &TreePath, is_whiteout: bool) -> PathKey {
    let mut hasher = Hasher::new();
    hasher.update(&[u8::from(is_whiteout)]);
    hasher.update(path.as_bytes());
    let digest = hasher.finish();
    let mut key = PathKey::default();
    key.copy_from_slice(&digest.as_bytes()[..16]);
    key
}

/// Remembers why reading failed, whatever the visitor makes of it.
struct Latched<R> {
    inner: R,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Latched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let shown = io::Error::from(error.kind());
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(error);
            }
            shown
        })
    }
}
