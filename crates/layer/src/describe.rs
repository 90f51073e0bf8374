//! Layers that people can read.

use std::fmt::Write as _;
use std::io::Read;

use cairn_oci::{Digest, Hasher};

use crate::entry::{Entry, EntryKind};
use crate::escape::Escaped;
use crate::limits::Limits;
use crate::read::read_layer;
use crate::read_error::{ReadError, VisitError};

/// Lists a layer, one line for each entry in the order of the archive:
///
/// ```text
/// MODE UID GID SIZE MTIME TYPE SHA256 PATH [-> TARGET] [XATTR=HEX…]
/// ```
///
/// MODE is octal, SIZE in bytes, MTIME in seconds since 1970. TYPE is `d` directory, `f` file, `l` symbolic link,
/// `h` hard link, `c` and `b` devices (TARGET is their number), `p` pipe, `w` whiteout, `o` opaque marker. SHA256 is
/// that of a file's content, else `-`. Whatever does not print is escaped.
///
/// # Errors
///
/// [`ReadError`].
pub fn describe(reader: impl Read, limits: &Limits) -> Result<String, ReadError> {
    let mut text = String::new();
    read_layer(reader, limits, &mut |entry, content| {
        let line = describe_entry(entry, content)?;
        text.push_str(&line);
        text.push('\n');
        Ok(())
    })?;
    Ok(text)
}

fn describe_entry(entry: &Entry, content: &mut dyn Read) -> Result<String, VisitError> {
    let attributes = &entry.attributes;
    let digest = match entry.kind {
        EntryKind::File => hash(content)?.hex(),
        _ => "-".to_owned(),
    };
    let mut line = format!(
        "{:04o} {} {} {} {} {} {digest} {}",
        attributes.mode,
        attributes.uid,
        attributes.gid,
        entry.size,
        entry.mtime,
        letter(&entry.kind),
        entry.path
    );
    if let Some(target) = target(&entry.kind) {
        write!(line, " -> {target}")?;
    }
    for (name, value) in &attributes.xattrs {
        write!(line, " {}=", Escaped(name))?;
        value.iter().try_for_each(|byte| write!(line, "{byte:02x}"))?;
    }
    Ok(line)
}

fn hash(content: &mut dyn Read) -> Result<Digest, VisitError> {
    let mut hasher = Hasher::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

const fn letter(kind: &EntryKind) -> char {
    match kind {
        EntryKind::Directory => 'd',
        EntryKind::File => 'f',
        EntryKind::Symlink { .. } => 'l',
        EntryKind::Hardlink { .. } => 'h',
        EntryKind::CharacterDevice { .. } => 'c',
        EntryKind::BlockDevice { .. } => 'b',
        EntryKind::Fifo => 'p',
        EntryKind::Whiteout => 'w',
        EntryKind::Opaque => 'o',
    }
}

fn target(kind: &EntryKind) -> Option<String> {
    match kind {
        EntryKind::Symlink { target } => Some(Escaped(target).to_string()),
        EntryKind::Hardlink { to } => Some(to.to_string()),
        EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            Some(format!("{major}:{minor}"))
        }
        _ => None,
    }
}
