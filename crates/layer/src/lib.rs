//! A tree of files in, one deterministic layer out; and safely back.
//!
//! - Into a [`Tree`] go nodes by path: from the spec, and from the [`Context`] directory, which is read beneath its root
//!   and never through a symbolic link.
//! - [`write_layer`] writes a tree: archived, compressed and hashed in one pass, the same bytes for the same tree. An
//!   [`Engine`] does it with several threads, and with a [`SegmentCache`] that keeps what was compressed before.
//! - [`read_layer`] reads what others wrote, within [`Limits`], and shows entry after entry; [`Listing`] keeps what
//!   a build must know of a base; [`describe()`] makes a layer readable; [`recompress`] takes a whole tar archive over.
//! - [`unpack()`] takes foreign archives apart, tar and zip ([`unpack_tar`]: as they come); contents wait in a file as
//!   [`Spooled`].
//!
//! Nothing here writes to a disk, and nothing knows the clock or the environment. The rules that fix the bytes are in
//! the crate's README.

mod archive;
mod cache;
mod compress;
mod content;
mod decode;
mod describe;
mod entry;
mod escape;
mod glob;
mod hash;
mod header;
mod ignore;
mod limits;
mod listing;
mod local;
mod nodes;
mod path;
mod pax;
mod pipeline;
mod read;
mod read_error;
mod segment;
mod select;
mod spool;
mod tree;
mod unpack;
mod writer;

pub use cache::{SegmentCache, SegmentKey};
pub use compress::{Compression, WrittenLayer};
pub use decode::{DecodeError, Encoding, decoder, sniff};
pub use describe::describe;
pub use entry::{Entry, EntryKind};
pub use glob::{GlobError, GlobFilter};
pub use hash::{HashedArchive, hash_archive};
pub use ignore::{IgnoreError, IgnoreRules};
pub use limits::Limits;
pub use listing::{Listing, MAX_ACCOUNT_FILE, ResolveError};
pub use local::{Context, Identity, LocalEntries, LocalEntry, LocalError, LocalFile, LocalKind, LocalReader};
pub use path::{PathError, TreePath};
pub use pipeline::Engine;
pub use read::{ReadSummary, read_layer, recompress};
pub use read_error::{ReadError, VisitError};
pub use select::{Selection, Verdict};
pub use spool::Spooled;
pub use tree::{Attributes, Node, Source, Tree, TreeError, is_allowed_xattr};
pub use unpack::{Spool, UnpackError, UnpackOptions, ZipError, unpack, unpack_tar};
pub use writer::{LayerOptions, WriteError, archive_length, write_layer};
