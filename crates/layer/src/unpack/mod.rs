//! Foreign archives become trees.
//!
//! ```text
//!   tar, tar.gz, tar.zst, tar.xz, tar.bz2 ──▶ read_layer ──┐
//!                                                          ├──▶ Collector ──▶ Tree
//!   zip ─────────────────────────────────▶ unpack::zip ────┘        │
//!                                                                   ▼
//!                                              contents of files, one after the other, in the spool
//! ```
//!
//! What an archive is, its first bytes say, not its name. Nothing is written but the spool, and the tree knows no
//! disk: an archive cannot lead out of where it is put, whatever its names and links say. What two readers could
//! understand differently is refused.

mod collect;
mod error;
mod zip;

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::sync::Arc;

use self::collect::{Collector, Content, Member};
pub use self::error::UnpackError;
pub use self::zip::ZipError;
use crate::entry::EntryKind;
use crate::glob::GlobFilter;
use crate::limits::Limits;
use crate::path::TreePath;
use crate::read::read_layer;
use crate::read_error::VisitError;
use crate::spool::Section;
use crate::tree::Tree;

/// How many bytes tell a zip archive.
const SNIFF: u64 = 4;

/// What of an archive goes where.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// The directory of the image into which it goes; none: the root.
    pub to: Option<TreePath>,
    /// How many leading components each name loses. Entries that have no more than that are dropped.
    pub strip: usize,
    /// What is left out: matched against the name without the leading components.
    pub exclude: GlobFilter,
    /// What alone is taken, with all that is below it; none: everything.
    pub only: Option<GlobFilter>,
}

/// Where the contents of files go, and from where they are read again.
pub struct Spool<'a> {
    out: &'a mut dyn Write,
    file: Arc<File>,
    written: u64,
}

impl<'a> Spool<'a> {
    /// What is written to `out` must come to stand in `file`, from its first byte on, at the latest when `out` is
    /// flushed.
    #[must_use]
    pub fn new(out: &'a mut dyn Write, file: Arc<File>) -> Self {
        Self {
            out,
            file,
            written: 0,
        }
    }
}

/// Unpacks the archive `archive` into a tree that lies below `options.to`; directories above are not in it.
///
/// - Modes, owners and extended attributes are the archive's, as far as a tree takes them; a zip archive has no
///   owners: 0:0. Times are never looked at. An entry for the archive's own root counts for nothing.
/// - Hard links stay links, all to the first path of their group; left out are only the names that `options` leave
///   out.
/// - No name is there twice, but a directory's, of which the last counts.
/// - A symbolic link must not lead out of `options.to`, as far as its text says: no link is followed.
///
/// # Errors
///
/// [`UnpackError`]; what was written to the spool is then of no use.
pub fn unpack(
    archive: &File,
    options: &UnpackOptions,
    limits: &Limits,
    mut spool: Spool<'_>,
) -> Result<Tree, UnpackError> {
    let input = |source| UnpackError::Input { source };
    let size = archive.metadata().map_err(input)?.len();
    let whole = Section::new(archive, 0, size);
    let mut first = Vec::new();
    let mut start = whole.clone().take(SNIFF);
    start.read_to_end(&mut first).map_err(input)?;
    let mut collector = Collector::new(options, &mut spool);
    if zip::is_zip(&first) {
        zip::read(archive, size, limits, &mut collector)?;
    } else {
        read_tar(whole, limits, &mut collector)?;
    }
    collector.finish()
}

/// As [`unpack()`], of a tar archive that is read from `archive` as it comes, to its end: one that lies in another
/// archive, or in a part of a file. The spool may have something in it, and takes more afterwards.
///
/// # Errors
///
/// As [`unpack()`].
pub fn unpack_tar(
    archive: impl io::Read,
    options: &UnpackOptions,
    limits: &Limits,
    spool: &mut Spool<'_>,
) -> Result<Tree, UnpackError> {
    let mut collector = Collector::new(options, spool);
    read_tar(archive, limits, &mut collector)?;
    collector.finish()
}

fn read_tar(
    archive: impl io::Read,
    limits: &Limits,
    collector: &mut Collector<'_, '_>,
) -> Result<(), UnpackError> {
    let mut visit = |entry: &crate::entry::Entry, content: &mut dyn io::Read| -> Result<(), VisitError> {
        let path = entry.path.clone();
        let content = match &entry.kind {
            EntryKind::Directory => Content::Directory,
            EntryKind::File => Content::File(content),
            EntryKind::Symlink { target } => Content::Symlink(target.clone()),
            EntryKind::Hardlink { to } => Content::Hardlink(to.clone()),
            EntryKind::CharacterDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo => {
                Content::Special
            }
            EntryKind::Whiteout | EntryKind::Opaque => Content::Removal,
        };
        let member = Member {
            path,
            attributes: entry.attributes.clone(),
        };
        collector.add(member, content).map_err(Into::into)
    };
    let read = read_layer(archive, limits, &mut visit);
    read.map(|_| ()).map_err(UnpackError::of_tar)
}
