//! A repository upon another, of which it changes something.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use cairn_oci::{Descriptor, Digest, RepositoryName, Tag};

use crate::RepositoryError;
use crate::files::TemporaryFile;
use crate::repository::{
    Blob, Capabilities, Condition, Page, RawManifest, ReferrersPage, Repository, TagPage, Target, Turn,
    Written,
};
use crate::stream::ByteStream;

/// A repository that does as the one below it, but for what it says itself. It is a [`Repository`].
///
/// Several tags are written one after the other, through [`Self::write_manifest`].
#[async_trait]
pub trait Overlay: Send + Sync + fmt::Debug {
    /// The repository below.
    fn below(&self) -> &dyn Repository;

    /// See [`Repository::label`].
    fn label(&self) -> String {
        self.below().label()
    }

    /// See [`Repository::capabilities`].
    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        self.below().capabilities().await
    }

    /// See [`Repository::stat_blob`].
    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        self.below().stat_blob(digest).await
    }

    /// See [`Repository::read_blob`].
    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        self.below().read_blob(digest, range).await
    }

    /// See [`Repository::write_blob`].
    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        self.below().write_blob(digest, size, content).await
    }

    /// See [`Repository::write_spooled`]. It does not come by [`Self::write_blob`]: who changes one changes both.
    async fn write_spooled(&self, digest: &Digest, file: TemporaryFile) -> Result<Written, RepositoryError> {
        self.below().write_spooled(digest, file).await
    }

    /// See [`Repository::mount_blob`].
    async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, RepositoryError> {
        self.below().mount_blob(digest, from).await
    }

    /// See [`Repository::stat_manifest`].
    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        self.below().stat_manifest(target).await
    }

    /// See [`Repository::read_manifest`].
    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        self.below().read_manifest(target).await
    }

    /// See [`Repository::write_manifest`].
    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        self.below().write_manifest(target, manifest, condition).await
    }

    /// See [`Repository::list_tags`].
    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        self.below().list_tags(page).await
    }

    /// See [`Repository::list_referrers`].
    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        self.below().list_referrers(subject, artifact_type, page).await
    }

    /// See [`Repository::delete_tag`].
    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        self.below().delete_tag(tag).await
    }

    /// See [`Repository::delete_manifest`].
    async fn delete_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.below().delete_manifest(digest).await
    }

    /// See [`Repository::delete_blob`].
    async fn delete_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        self.below().delete_blob(digest).await
    }
}

#[async_trait]
impl<T: Overlay> Repository for T {
    fn name(&self) -> &RepositoryName {
        self.below().name()
    }

    fn label(&self) -> String {
        Overlay::label(self)
    }

    async fn capabilities(&self) -> Result<Capabilities, RepositoryError> {
        Overlay::capabilities(self).await
    }

    async fn stat_blob(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        Overlay::stat_blob(self, digest).await
    }

    async fn read_blob(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Blob>, RepositoryError> {
        Overlay::read_blob(self, digest, range).await
    }

    async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<Written, RepositoryError> {
        Overlay::write_blob(self, digest, size, content).await
    }

    async fn write_spooled(&self, digest: &Digest, file: TemporaryFile) -> Result<Written, RepositoryError> {
        Overlay::write_spooled(self, digest, file).await
    }

    async fn mount_blob(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, RepositoryError> {
        Overlay::mount_blob(self, digest, from).await
    }

    async fn turn(&self) -> Option<Turn> {
        self.below().turn().await
    }

    async fn stat_manifest(&self, target: &Target) -> Result<Option<Descriptor>, RepositoryError> {
        Overlay::stat_manifest(self, target).await
    }

    async fn read_manifest(&self, target: &Target) -> Result<Option<RawManifest>, RepositoryError> {
        Overlay::read_manifest(self, target).await
    }

    async fn write_manifest(
        &self,
        target: &Target,
        manifest: &RawManifest,
        condition: &Condition,
    ) -> Result<(), RepositoryError> {
        Overlay::write_manifest(self, target, manifest, condition).await
    }

    async fn list_tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        Overlay::list_tags(self, page).await
    }

    async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &Page,
    ) -> Result<ReferrersPage, RepositoryError> {
        Overlay::list_referrers(self, subject, artifact_type, page).await
    }

    async fn delete_tag(&self, tag: &Tag) -> Result<bool, RepositoryError> {
        Overlay::delete_tag(self, tag).await
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        Overlay::delete_manifest(self, digest).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        Overlay::delete_blob(self, digest).await
    }
}
