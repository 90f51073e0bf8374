//! Packages of Debian and of what is made like it.

mod archive;
mod index;
pub(crate) mod relation;
mod release;
mod request;
mod resolve;
mod solve;
mod source;
mod text;
mod universe;
mod version;

pub use self::archive::{
    Archive, ArchiveError, Fetch, FetchError, INDEX_LIMIT, RELEASE_LIMIT, UNPACKED_INDEX_LIMIT, Wanted,
    read_archive,
};
pub use self::index::{Index, IndexError};
pub use self::release::{Clock, Release, ReleaseError};
pub use self::request::{Request, RequestError};
pub use self::resolve::{FOR_ESSENTIAL, Question, ResolveError, Selected, resolve};
pub use self::source::{SignedBy, Source, SourceError, read_deb822, read_one_line};
pub use self::version::compare as compare_versions;
