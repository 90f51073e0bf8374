//! Entries of foreign layers: members of the archive whose names, kinds and links have been checked.

use tar::EntryType;

use crate::archive::RawMember;
use crate::escape::Escaped;
use crate::path::TreePath;
use crate::read_error::ReadError;
use crate::tree::{Attributes, is_symlink_target};

/// One entry of a layer, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path. Of a whiteout, the path that it removes; of an opaque marker, the marker's own, so that its parent is
    /// the directory that it empties.
    pub path: TreePath,
    /// What it is.
    pub kind: EntryKind,
    /// Mode, owner and extended attributes, all as the layer has them. A hard link's should be those of its file.
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

/// The member's kind, with the spellings of older formats resolved.
pub(crate) fn member_kind(member: &RawMember) -> Result<EntryType, ReadError> {
    let kind = match member.kind {
        // Before POSIX, a slash was what made a directory.
        EntryType::Regular if member.name.ends_with(b"/") => EntryType::Directory,
        EntryType::Regular => EntryType::Regular,
        // A contiguous file with such a name is a file for some and a directory for others.
        EntryType::Continuous if !member.name.ends_with(b"/") => EntryType::Regular,
        // The same with a hard link; a symbolic link with a slash is one for all.
        EntryType::Link if !member.name.ends_with(b"/") => EntryType::Link,
        EntryType::GNUSparse => return Err(ReadError::Sparse { at: member.at }),
        kind @ (EntryType::Symlink
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
pub(crate) fn normalise(name: &[u8]) -> Result<Option<TreePath>, ReadError> {
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

pub(crate) fn checked_entry(path: TreePath, kind: EntryType, member: RawMember) -> Result<Entry, ReadError> {
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

pub(crate) fn attributes(member: RawMember) -> Attributes {
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
