//! Heads: one immutable manifest that commits to an ordered list of entries.
//!
//! ```text
//!  manifest (artifactType application/vnd.cairn.ledger.v1+json)
//!    config ──▶ DSSE envelope {ledger, size, packs, at, from, covers}, signed by the writer
//!    layers ──▶ pack of 4,096 · pack of 256 · … · tail
//! ```
//!
//! `packs` is the SHA-256 of the packs' digests, one after the other: so the writer signed this list and no other.

use bytes::Bytes;
use cairn_oci::manifest::DocumentError;
use cairn_oci::{Descriptor, Digest, Document, Manifest, Tag, json, media_type};
use cairn_store::RawManifest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::content::ContentError;
use crate::entry::{EntryError, EntryName};
use crate::envelope::{ENVELOPE_LIMIT, Envelope, EnvelopeError, PAYLOAD_LIMIT};
use crate::key::{Fingerprint, SignError, Signer};
use crate::pack::{self, PackError};
use crate::time;

/// What a head is.
pub const ARTIFACT_TYPE: &str = "application/vnd.cairn.ledger.v1+json";
/// The media type of a head's config, which is an envelope.
pub const CONFIG_TYPE: &str = "application/vnd.cairn.ledger.head.v1+json";
/// The type of the payload in that envelope.
pub const PAYLOAD_TYPE: &str = CONFIG_TYPE;
/// Most heads that one head names as covered.
pub const COVER_LIMIT: usize = 128;
/// The tag of the head in linear mode.
pub const LINEAR_TAG: &str = "cairn-head";
/// What the tags of heads in causal mode begin with.
pub const CAUSAL_PREFIX: &str = "cairn-h-";

/// What a writer signs for: which entries, after which heads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadStatement {
    /// Name of the genesis.
    pub ledger: EntryName,
    /// How many entries.
    pub size: u64,
    /// SHA-256 of the digests of the packs, 32 bytes each, one after the other.
    pub packs: Digest,
    /// When it was written, by the writer's clock.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// The heads that it was made from: one, or several where they were merged; none for the genesis.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Digest>,
    /// Other heads all of whose entries it has: the first 16 hexadecimal digits of each, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covers: Vec<String>,
}

/// Why a head does not count.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Not a manifest.
    #[error("it is not a manifest")]
    Document(#[source] DocumentError),
    /// A manifest of something else.
    #[error(
        "it is not a head: the artifact type is not {ARTIFACT_TYPE}, or the media types are not a head's"
    )]
    Type,
    /// A head's manifest has one form: canonical, without annotations or anything else that was not signed.
    #[error("its manifest has another form than a head's")]
    Form,
    /// Its config or one of its packs cannot be had.
    #[error("its content cannot be read")]
    Content(#[source] ContentError),
    /// Its config is not an envelope.
    #[error("its config is not an envelope")]
    Envelope(#[source] EnvelopeError),
    /// What was signed is not a head's statement.
    #[error("its statement cannot be read")]
    Statement(#[source] json::JsonError),
    /// The statement and the manifest do not say the same.
    #[error("its packs are not those that were signed")]
    Packs,
    /// It has no entry, or more than any ledger may.
    #[error("it states a size of {size}")]
    Size {
        /// What it states.
        size: u64,
    },
    /// A pack is damaged.
    #[error("the pack at {start} is damaged")]
    Pack {
        /// Position of the pack's first entry.
        start: usize,
        /// How.
        source: PackError,
    },
    /// An entry is none.
    #[error("the entry at {position} is not valid")]
    Entry {
        /// Its position.
        position: usize,
        /// What is wrong with it.
        source: EntryError,
    },
    /// No signature of an entry verifies.
    #[error("the entry at {position} has no valid signature by a key of the ledger")]
    Unsigned {
        /// Its position.
        position: usize,
    },
    /// An entry belongs to another ledger, or the ledger begins in the middle or twice.
    #[error("the entry at {position} does not belong to this ledger")]
    Foreign {
        /// Its position.
        position: usize,
    },
    /// An entry names one that does not stand before it.
    #[error("the entry at {position} names {names}, which does not stand before it")]
    Order {
        /// Its position.
        position: usize,
        /// What it names.
        names: EntryName,
    },
    /// The genesis cannot be used.
    #[error("the genesis cannot be used: {detail}")]
    Genesis {
        /// Why not.
        detail: String,
    },
    /// Its manifest cannot be had.
    #[error("its manifest cannot be read")]
    Manifest(#[source] cairn_store::RepositoryError),
    /// A tag of a head ends with the first digits of its digest.
    #[error("the tag names another head than the one it points at, {found}")]
    Tag {
        /// The digest of its manifest.
        found: Digest,
    },
    /// Each mode has its own tags.
    #[error("its ledger is appended to in the other mode")]
    Mode,
    /// Its writer's key is not allowed at the end of its own chain, or the signature is wrong.
    #[error("it is not signed by a key that the ledger allows")]
    Signer,
}

impl HeadError {
    /// Whether the way to the content failed, rather than the content: then nothing is known about the head.
    #[must_use]
    pub const fn is_environment(&self) -> bool {
        matches!(self, Self::Content(error) if !error.is_integrity())
    }
}

/// A head that can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltHead {
    /// The manifest.
    pub manifest: RawManifest,
    /// Its config.
    pub config: Bytes,
    /// How many entries it has.
    pub size: u64,
}

/// A head as it is read: parts that are checked against each other, and not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) config: Descriptor,
    pub(crate) packs: Vec<Descriptor>,
}

/// Binds `packs` to one digest.
#[must_use]
pub fn packs_digest<'a>(packs: impl Iterator<Item = &'a Digest>) -> Digest {
    let bytes: Vec<u8> = packs.flat_map(|digest| *digest.as_bytes()).collect();
    Digest::of(&bytes)
}

/// Signs and writes down a head.
///
/// # Errors
///
/// [`SignError`].
pub fn build(
    statement: &HeadStatement,
    packs: Vec<Descriptor>,
    signer: &dyn Signer,
) -> Result<BuiltHead, SignError> {
    let envelope = Envelope::sign(PAYLOAD_TYPE, json::canonical(statement), signer)?;
    let config = envelope.bytes().clone();
    let manifest = manifest(Descriptor::of(CONFIG_TYPE, &config), packs);
    Ok(BuiltHead {
        manifest: RawManifest::new(media_type::MANIFEST, manifest),
        config,
        size: statement.size,
    })
}

fn manifest(config: Descriptor, packs: Vec<Descriptor>) -> Vec<u8> {
    json::canonical(&Manifest {
        artifact_type: Some(ARTIFACT_TYPE.to_owned()),
        ..Manifest::image(config, packs)
    })
}

/// Reads the manifest of a head.
pub(crate) fn parts(manifest: &RawManifest) -> Result<Parts, HeadError> {
    let Document::Manifest(document) = manifest.document().map_err(HeadError::Document)? else {
        return Err(HeadError::Type);
    };
    let is_head = document.artifact_type.as_deref() == Some(ARTIFACT_TYPE)
        && document.config.media_type == CONFIG_TYPE
        && document
            .layers
            .iter()
            .all(|pack| pack.media_type == pack::MEDIA_TYPE);
    if !is_head {
        return Err(HeadError::Type);
    }
    let plain = |one: &Descriptor| Descriptor::new(one.media_type.clone(), one.digest, one.size);
    let config = plain(&document.config);
    let packs: Vec<Descriptor> = document.layers.iter().map(plain).collect();
    // Nobody signed the manifest itself, so it may say nothing beyond what was signed, and in one form only.
    if *manifest.bytes() != self::manifest(config.clone(), packs.clone()) {
        return Err(HeadError::Form);
    }
    Ok(Parts { config, packs })
}

/// Reads the config of a head and checks it against the packs of its manifest.
pub(crate) fn statement(
    config: &Bytes,
    packs: &[Descriptor],
) -> Result<(Envelope, HeadStatement), HeadError> {
    let envelope = Envelope::parse(config, PAYLOAD_TYPE).map_err(HeadError::Envelope)?;
    let statement: HeadStatement =
        json::parse(envelope.payload(), PAYLOAD_LIMIT).map_err(HeadError::Statement)?;
    let size = statement.size;
    let entries = usize::try_from(size)
        .ok()
        .filter(|size| (1..=pack::ENTRY_LIMIT).contains(size));
    let Some(entries) = entries else {
        return Err(HeadError::Size { size });
    };
    let is_signed = packs_digest(packs.iter().map(|pack| &pack.digest)) == statement.packs;
    if !is_signed || packs.len() != pack::layout(entries).len() || statement.covers.len() > COVER_LIMIT {
        return Err(HeadError::Packs);
    }
    Ok((envelope, statement))
}

/// The first 16 hexadecimal digits of a head's digest: how it is named in tags and in `covers`.
#[must_use]
pub fn short(digest: &Digest) -> String {
    digest.hex().chars().take(16).collect()
}

/// The tag of a head in causal mode: the newest sorts first.
#[must_use]
pub fn causal_tag(size: u64, digest: &Digest) -> Tag {
    let rank = 9_999_999_999_u64.saturating_sub(size);
    let text = format!("{CAUSAL_PREFIX}{rank:010}-{}", short(digest));
    #[expect(clippy::expect_used, reason = "letters, digits and `-`, 35 bytes")]
    text.parse().expect("a valid tag")
}

/// The tag of the head in linear mode.
#[must_use]
pub fn linear_tag() -> Tag {
    #[expect(clippy::expect_used, reason = "a constant")]
    LINEAR_TAG.parse().expect("a valid tag")
}

/// Whether a tag shows a head, in either mode.
pub(crate) fn is_head_tag(tag: &Tag) -> bool {
    tag.as_str() == LINEAR_TAG || tag.as_str().starts_with(CAUSAL_PREFIX)
}

/// Longest config of a head, in bytes.
pub(crate) const CONFIG_LIMIT: u64 = ENVELOPE_LIMIT as u64;

/// What a head that counts is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadInfo {
    /// Digest of its manifest.
    pub digest: Digest,
    /// How many entries it has.
    pub size: u64,
    /// When it was written, by its writer's clock.
    pub at: Timestamp,
    /// Who wrote it.
    pub signer: Fingerprint,
}
