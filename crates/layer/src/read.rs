//! Reading foreign layers and root file systems, without ever writing to a disk.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};

use cairn_oci::{Digest, Hasher};
use tar::EntryType;

use crate::archive::{Archive, End, RawMember};
use crate::compress::{CHUNK, Compression, LayerSink, WrittenLayer};
use crate::decode::{DecodeError, Encoding, sniffing_decoder};
use crate::escape::Escaped;
use crate::limits::Limits;
use crate::path::{PathError, TreePath};
use crate::tree::{Attributes, is_symlink_target};

/// One entry of a layer, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path. Of a whiteout, the path that it removes; of an opaque marker, the marker's own, so that its parent is
    /// the directory that it empties.
    pub path: TreePath,
    /// What it is.
    pub kind: EntryKind,
    /// Mode, owner and extended attributes, all as the layer has them. Of a hard link they mean nothing.
    pub attributes: Attributes,
    /// Length of the content in bytes; 0 of everything but a file.
    pub size: u64,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

/// What an entry of a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink {
        /// What it points at: any bytes.
        target: Vec<u8>,
    },
    /// Another name of a file.
    Hardlink {
        /// The file's path.
        to: TreePath,
    },
    /// A character device. Nothing in Cairn makes one.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device. Nothing in Cairn makes one.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Removes what lower layers have at the path.
    Whiteout,
    /// Removes what lower layers have below the path's parent.
    Opaque,
}

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

/// Why a visitor does not want to go on.
pub type VisitError = Box<dyn std::error::Error + Send + Sync>;

/// Why a layer cannot be read. `at` is a position in the tar archive; texts are escaped.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes cannot be read or decompressed.
    #[error("cannot read the layer")]
    Input {
        /// Why.
        source: io::Error,
    },
    /// It decompresses to more than it may.
    #[error("the layer is too large")]
    Decode {
        /// Which limit.
        source: DecodeError,
    },
    /// The output of [`recompress`] does not take the bytes.
    #[error("cannot write the layer")]
    Output {
        /// Why.
        source: io::Error,
    },
    /// It ends in the middle, or without an end marker where nothing else tells the end.
    #[error("the tar archive ends too early, at byte {at}")]
    Truncated {
        /// Where.
        at: u64,
    },
    /// Something follows the end.
    #[error("there is something at byte {at}, after the end of the tar archive")]
    TrailingData {
        /// Where.
        at: u64,
    },
    /// A header is damaged, or contradicts itself.
    #[error("the tar header at byte {at} has an impossible {field}")]
    Header {
        /// Where the header starts.
        at: u64,
        /// Which field.
        field: &'static str,
    },
    /// A PAX header or long name is damaged, or there are two for one member.
    #[error("the extended tar header for the member at byte {at} is damaged or ambiguous")]
    Extension {
        /// Where the header starts.
        at: u64,
    },
    /// A PAX header or long name is too large.
    #[error("the extended tar header at byte {at} is larger than {limit} bytes")]
    ExtensionTooLarge {
        /// Where the header starts.
        at: u64,
        /// The limit: [`Limits::max_extension`].
        limit: u64,
    },
    /// A sparse file: readers disagree about them (image-spec, layer.md: layers should have none).
    #[error("the member at byte {at} is a sparse file, which a layer should not have")]
    Sparse {
        /// Where the header starts.
        at: u64,
    },
    /// A kind of member that is none of a file system.
    #[error("`{path}` is of the unknown kind `{kind}`")]
    Unsupported {
        /// The member's name.
        path: String,
        /// The header's type flag.
        kind: String,
    },
    /// A name leads out of the image.
    #[error("`{path}` leads out of the image")]
    Escapes {
        /// The name.
        path: String,
    },
    /// A hard link's target leads out of the image, is the root, or is the link itself.
    #[error("the hard link `{path}` cannot lead to `{target}`")]
    Hardlink {
        /// The link's name.
        path: String,
        /// Its target.
        target: String,
    },
    /// A name is no path.
    #[error("the layer has an entry that cannot be in an image")]
    Path {
        /// What is wrong with it.
        source: PathError,
    },
    /// A symbolic link has an impossible target.
    #[error("the target of the symbolic link {path} is empty, too long, or has a NUL byte")]
    SymlinkTarget {
        /// The link.
        path: TreePath,
    },
    /// Something named like a whiteout is none.
    #[error("{path} is no whiteout: those are empty files named `.wh.` and the name that they remove")]
    Whiteout {
        /// The path, as named.
        path: TreePath,
    },
    /// The root is something else than a directory.
    #[error("the layer's root is not a directory")]
    Root,
    /// A path is there twice (image-spec, layer.md: it must not be), and not both times a directory.
    #[error("{path} is there twice")]
    Duplicate {
        /// The path.
        path: TreePath,
    },
    /// Something lies below what this layer says is a file.
    #[error("{path} lies below {ancestor}, which is not a directory")]
    NotADirectory {
        /// What lies below.
        path: TreePath,
        /// What is no directory.
        ancestor: TreePath,
    },
    /// A path leads through symbolic links that do not end.
    #[error("{path} lies below symbolic links that do not end")]
    SymlinkLoop {
        /// The path.
        path: TreePath,
    },
    /// `/etc/passwd` or `/etc/group` is too large.
    #[error("{path} has more than {limit} bytes")]
    AccountFile {
        /// Which.
        path: TreePath,
        /// The limit in bytes.
        limit: u64,
    },
    /// Too many entries.
    #[error("the layer has more than {limit} entries")]
    TooManyEntries {
        /// The limit: [`Limits::max_entries`].
        limit: u64,
    },
    /// Too many bytes of names and attributes.
    #[error("the names and attributes in the layer have more than {limit} bytes")]
    Metadata {
        /// The limit: [`Limits::max_metadata`].
        limit: u64,
    },
    /// The visitor did not want to go on.
    #[error("cannot use {path}")]
    Visit {
        /// The entry.
        path: TreePath,
        /// What the visitor said.
        source: VisitError,
    },
}

/// Wraps an error of the output, so that it is not taken for one of the input.
#[derive(Debug, thiserror::Error)]
#[error("cannot write")]
struct OutputFailed(#[source] io::Error);

impl ReadError {
    pub(crate) fn from_input(error: io::Error) -> Self {
        let error = match error.downcast::<DecodeError>() {
            Ok(source) => return Self::Decode { source },
            Err(error) => error,
        };
        match error.downcast::<OutputFailed>() {
            Ok(OutputFailed(source)) => Self::Output { source },
            Err(source) => Self::Input { source },
        }
    }
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

/// Compresses the tar archive in `reader` anew: the same archive, byte for byte, in our compression.
///
/// For a root file system that is given as a file. It is checked like a layer on the way.
///
/// # Errors
///
/// [`ReadError`]; what was written so far is then no layer.
pub fn recompress<R: Read>(
    reader: R,
    limits: &Limits,
    compression: Compression,
    out: &mut dyn Write,
) -> Result<WrittenLayer, ReadError> {
    let output = |source| ReadError::Output { source };
    let mut sink = LayerSink::new(compression, out).map_err(output)?;
    let summary = read_through(reader, limits, &mut sink, &mut |_, _| Ok(()))?;
    sink.finish(summary.entries).map_err(output)
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
            let member = match archive.next()? {
                Ok(member) => member,
                Err(end) => return Ok(end),
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
        let entry = entry(path, kind, member)?;
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

/// The member's kind, with the spellings of older formats resolved.
fn member_kind(member: &RawMember) -> Result<EntryType, ReadError> {
    let kind = match member.kind {
        // Before POSIX, a slash was what made a directory.
        EntryType::Regular | EntryType::Continuous if member.name.ends_with(b"/") => EntryType::Directory,
        EntryType::Regular | EntryType::Continuous => EntryType::Regular,
        EntryType::GNUSparse => return Err(ReadError::Sparse { at: member.at }),
        kind @ (EntryType::Link
        | EntryType::Symlink
        | EntryType::Char
        | EntryType::Block
        | EntryType::Directory
        | EntryType::Fifo) => kind,
        other => {
            let kind = Escaped(&[other.as_byte()]).to_string();
            return Err(ReadError::Unsupported {
                path: shown(&member.name),
                kind,
            });
        }
    };
    if kind != EntryType::Regular && member.size > 0 {
        // Some readers would skip this many bytes, and others would not.
        return Err(ReadError::Header {
            at: member.at,
            field: "size",
        });
    }
    Ok(kind)
}

/// The path that a name means; none for the root.
fn normalise(name: &[u8]) -> Result<Option<TreePath>, ReadError> {
    let mut components = name
        .split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."));
    if name.is_empty() || components.clone().any(|component| component == b"..") {
        return Err(ReadError::Escapes { path: shown(name) });
    }
    let Some(first) = components.next() else {
        return Ok(None);
    };
    let mut path = first.to_vec();
    for component in components {
        path.push(b'/');
        path.extend_from_slice(component);
    }
    TreePath::new(path)
        .map(Some)
        .map_err(|source| ReadError::Path { source })
}

fn entry(path: TreePath, kind: EntryType, member: RawMember) -> Result<Entry, ReadError> {
    let (major, minor) = member.device;
    let (size, mtime) = (member.size, member.mtime);
    let entry_kind = match kind {
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink if is_symlink_target(&member.link) => EntryKind::Symlink {
            target: member.link.clone(),
        },
        EntryType::Symlink => return Err(ReadError::SymlinkTarget { path }),
        EntryType::Link => EntryKind::Hardlink {
            to: hardlink_target(&path, &member)?,
        },
        EntryType::Char => EntryKind::CharacterDevice { major, minor },
        EntryType::Block => EntryKind::BlockDevice { major, minor },
        EntryType::Fifo => EntryKind::Fifo,
        _ => EntryKind::File,
    };
    let (path, entry_kind) = whiteout(path, entry_kind, size)?;
    Ok(Entry {
        path,
        kind: entry_kind,
        attributes: attributes(member),
        size,
        mtime,
    })
}

fn hardlink_target(path: &TreePath, member: &RawMember) -> Result<TreePath, ReadError> {
    match normalise(&member.link) {
        Ok(Some(to)) if to != *path => Ok(to),
        _ => Err(ReadError::Hardlink {
            path: shown(&member.name),
            target: shown(&member.link),
        }),
    }
}

/// Names that start with `.wh.` are whiteouts and nothing else (image-spec, layer.md, "Whiteouts").
fn whiteout(path: TreePath, kind: EntryKind, size: u64) -> Result<(TreePath, EntryKind), ReadError> {
    if !path.components().any(|name| name.starts_with(b".wh.")) {
        return Ok((path, kind));
    }
    let in_directory = path
        .parent()
        .is_some_and(|parent| parent.components().any(|n| n.starts_with(b".wh.")));
    if in_directory || kind != EntryKind::File || size > 0 {
        return Err(ReadError::Whiteout { path });
    }
    if path.file_name() == b".wh..wh..opq" {
        return Ok((path, EntryKind::Opaque));
    }
    let removed = &path.file_name()[b".wh.".len()..];
    // `.wh.`, `.wh..` and `.wh...` would remove nothing, the directory, and what is above it; names that start with
    // `.wh..wh.` were an old driver's own.
    if removed.starts_with(b".wh.") {
        return Err(ReadError::Whiteout { path });
    }
    let directory = &path.as_bytes()[..path.as_bytes().len() - path.file_name().len()];
    match TreePath::new([directory, removed].concat()) {
        Ok(removed) => Ok((removed, EntryKind::Whiteout)),
        Err(_) => Err(ReadError::Whiteout { path }),
    }
}

fn attributes(member: RawMember) -> Attributes {
    Attributes {
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        xattrs: member.xattrs.into_iter().collect(),
    }
}

fn shown(bytes: &[u8]) -> String {
    Escaped(&bytes[..bytes.len().min(TreePath::MAX)]).to_string()
}
