//! The lock of a workspace: one file at its root for all of its images.

use std::collections::BTreeMap;
use std::fmt;

use super::{Lock, comments, reader, within_limit, writer};
use crate::finding::Finding;

/// The locks of a workspace's images, each under its image's name.
///
/// ```text
/// output = 1
///
/// [image."web"]
/// created = "2026-03-01T00:00:00Z"
///
/// [image."web".base]
/// image = "registry.example.org/debian:12"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkspaceLock {
    /// By the images' names.
    pub images: BTreeMap<String, Lock>,
}

impl WorkspaceLock {
    /// Reads a lock of at most [`LIMIT`](super::LIMIT) bytes.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        let images = reader::read_workspace(text)?;
        Ok(Self { images })
    }

    /// As [`Lock::to_text_with_comments_of`].
    #[must_use]
    pub fn to_text_with_comments_of(&self, before: &str) -> String {
        let plain = self.to_string();
        let commented = comments::carry(before, &plain);
        let means_the_same = |text: &str| Self::parse(text).is_ok_and(|lock| lock == *self);
        within_limit(commented, plain, means_the_same)
    }
}

/// The lock's own text: the same for the same pins.
impl fmt::Display for WorkspaceLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writer::write_workspace(&self.images, f)
    }
}
