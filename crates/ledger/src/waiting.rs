//! Entries that wait for more signatures: a channel's rules require them, or the threshold of keys and rules is above one.
//!
//! Each is a manifest of its own, beside the ledger:
//!
//! ```text
//!  tag cairn-w-<16 digits of the entry's name>-<16 digits of the layer's digest>
//!    manifest (artifactType application/vnd.cairn.ledger.waiting.v1+json)
//!      config ──▶ {}
//!      layer  ──▶ a pack of the one envelope
//! ```
//!
//! Who approves writes another one with one signature more, so that nothing is ever overwritten; who reads puts the signatures of
//! all together. Nothing of it is believed: each signature is verified, and the fold decides what the entry would do.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_oci::text::counted;
use cairn_oci::{Descriptor, Digest, Document, Manifest, Tag, json, media_type};
use cairn_store::{Condition, Page, RawManifest, RepositoryError, Target};
use jiff::Timestamp;

use crate::append::{CommitError, has_effect};
use crate::authority::{Authority, Lack};
use crate::content;
use crate::entry::{Entry, EntryName, Kind};
use crate::envelope::{ENVELOPE_LIMIT, Envelope, Signature, pre_authentication_encoding};
use crate::finding::{Finding, chain};
use crate::fold::{Outcome, Record, Why};
use crate::head;
use crate::key::{Fingerprint, PublicKey, SignError, Signer};
use crate::name::Channel;
use crate::open::{Ledger, OpenError, Opened};
use crate::pack;
use crate::state::State;

/// What a waiting entry is.
pub const ARTIFACT_TYPE: &str = "application/vnd.cairn.ledger.waiting.v1+json";
/// What the tags of waiting entries begin with.
pub const PREFIX: &str = "cairn-w-";
/// Most of them that are read: whoever may write tags could write any number.
const READ_LIMIT: usize = 256;
/// Most pages of a list of tags.
const PAGE_LIMIT: usize = 10_000;

/// An entry that waits, or has waited.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its name.
    pub name: EntryName,
    /// What it states.
    pub entry: Entry,
    /// The keys of the ledger that have signed it.
    pub signers: BTreeSet<Fingerprint>,
    /// What is missing before it can be appended.
    pub missing: Vec<Missing>,
    /// What has become of it.
    pub standing: Standing,
    pub(crate) envelope: Envelope,
    pub(crate) tags: Vec<Tag>,
}

/// Whether there is still something to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// With the signatures that are missing it would have effect.
    Open,
    /// It is in the ledger, at this position.
    Done(u64),
    /// It would have no effect any more, whoever signed it.
    Void {
        /// Why.
        why: Why,
        /// By which entry, where one is to name.
        by: Option<EntryName>,
    },
}

/// What an entry lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Signatures of a group, for a channel.
    Group(Lack),
    /// So many more keys that may change keys or rules.
    Threshold {
        /// How many.
        count: u32,
    },
    /// Nobody's signature, but it has to be appended by a key that is listed afterwards.
    Append,
}

impl Missing {
    /// What is missing, in words: `1 signature of the group human for prod`.
    #[must_use]
    pub fn text(&self) -> String {
        let signatures = |count: u32| counted(count.into(), "signature", "signatures");
        match self {
            Self::Group(Lack {
                channel,
                group,
                count,
            }) => format!("{} of the group {group} for {channel}", signatures(*count)),
            Self::Threshold { count } => {
                format!("{} of keys that may change keys and rules", signatures(*count))
            }
            Self::Append => "a key that is listed afterwards to append it".to_owned(),
        }
    }

    const fn count(&self) -> u32 {
        match self {
            Self::Group(lack) => lack.count,
            Self::Threshold { count } => *count,
            Self::Append => 1,
        }
    }
}

/// What `entry` lacks with these signers before it has the effect that it is made for.
#[must_use]
pub fn missing(state: &State, entry: &Entry, signers: &BTreeSet<Fingerprint>) -> Vec<Missing> {
    let authority = &state.authority;
    match entry.kind {
        Kind::Keys | Kind::Rules if authority.threshold_met(signers, &entry.kind, entry.at) => Vec::new(),
        Kind::Keys | Kind::Rules => {
            let may = |key: &&Fingerprint| authority.may(key, &entry.kind, None, entry.at);
            let able = u32::try_from(signers.iter().filter(may).count()).unwrap_or(u32::MAX);
            let count = authority.threshold.saturating_sub(able).max(1);
            vec![Missing::Threshold { count }]
        }
        _ if entry.kind.is_forward() || entry.kind == Kind::Resume => {
            let lacks = |channel: &Channel| state.rules.lacks(channel, authority, signers, entry.at);
            let channels = entry.moves.iter().map(|one| &one.channel);
            channels.flat_map(lacks).map(Missing::Group).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a head that `appender` signs at `at` would count with this entry at its end.
pub(crate) fn can_append(state: &State, entry: &Entry, appender: &Fingerprint, at: Timestamp) -> bool {
    let authority = entry.authority.as_ref().unwrap_or(&state.authority);
    let broke_glass = entry.glass.as_ref().map(PublicKey::fingerprint) == Some(*appender);
    authority.may_write_heads(appender, at) || broke_glass
}

/// Whether a signature by `key` is one that the entry lacks.
pub(crate) fn adds(state: &State, entry: &Entry, signers: &BTreeSet<Fingerprint>, key: &Fingerprint) -> bool {
    let count = |signers: &BTreeSet<Fingerprint>| -> u32 {
        missing(state, entry, signers).iter().map(Missing::count).sum()
    };
    let mut with = signers.clone();
    with.insert(*key);
    count(&with) < count(signers)
}

impl Waiting {
    /// The first digits of its name, by which it is called on a command line.
    #[must_use]
    pub fn short(&self) -> String {
        self.name.hex().chars().take(12).collect()
    }

    /// Whether it would do the same as `other`, whoever wants it, when and why.
    pub(crate) fn is_like(&self, other: &Entry) -> bool {
        let Self { entry, .. } = self;
        let same = |mut one: Entry| {
            one.actor.clone_from(&other.actor);
            one.reason.clone_from(&other.reason);
            one.source.clone_from(&other.source);
            one.run.clone_from(&other.run);
            one.at = other.at;
            one.nonce = other.nonce;
            one
        };
        same(entry.clone()) == *other
    }

    /// The envelope with the signature of `signer` too.
    pub(crate) fn cosigned(&self, signer: &dyn Signer) -> Result<Envelope, SignError> {
        let one = Envelope::sign(
            self.envelope.payload_type(),
            self.envelope.payload().to_vec(),
            signer,
        )?;
        let signatures: Vec<Signature> = self
            .envelope
            .signatures()
            .iter()
            .chain(one.signatures())
            .cloned()
            .collect();
        // There are at most as many as the ledger has keys, each once.
        Ok(self.envelope.with_signatures(&signatures).unwrap_or(one))
    }
}

/// Waiting entries, and what was found in their place.
#[derive(Debug, Clone, Default)]
pub struct WaitingList {
    /// The entries, the oldest first by their own time.
    pub entries: Vec<Waiting>,
    /// What is none, or is not read.
    pub findings: Vec<Finding>,
}

impl WaitingList {
    /// The entries whose name begins with these hexadecimal digits, with or without `sha256:`.
    pub fn called(&self, name: &str) -> impl Iterator<Item = &Waiting> {
        let digits = name.strip_prefix("sha256:").unwrap_or(name).to_owned();
        self.entries
            .iter()
            .filter(move |one| one.name.hex().starts_with(&digits))
    }
}

/// The signatures of one entry, from all tags that have it.
struct Collected {
    envelope: Envelope,
    entry: Entry,
    signatures: BTreeMap<Fingerprint, Signature>,
    /// Those of keys that were taken out of the ledger.
    former: BTreeMap<Fingerprint, Signature>,
    tags: Vec<Tag>,
}

impl Collected {
    /// Takes the signatures that verify by a key of the ledger, or by one that was.
    fn take(&mut self, envelope: &Envelope, opened: &Opened, state: &State) {
        let message = pre_authentication_encoding(envelope.payload_type(), envelope.payload());
        for signature in envelope.signatures() {
            let is_by = |key: &&PublicKey| {
                key.fingerprint() == signature.key && key.verifies(&message, &signature.bytes)
            };
            if state.authority.public_keys().any(|key| is_by(&key)) {
                self.signatures.insert(signature.key, signature.clone());
            } else if former_keys(opened).any(|key| is_by(&key)) {
                self.former.insert(signature.key, signature.clone());
            }
        }
    }
}

/// Every key that an entry in effect ever listed.
fn former_keys(opened: &Opened) -> impl Iterator<Item = &PublicKey> {
    opened.view.authorities().flat_map(Authority::public_keys)
}

impl Ledger {
    /// Entries that wait for signatures, and those that have waited and are not cleared away yet.
    ///
    /// # Errors
    ///
    /// [`OpenError::Repository`].
    pub async fn waiting(&self, opened: &Opened) -> Result<WaitingList, OpenError> {
        let Some(state) = opened.state() else {
            return Ok(WaitingList::default());
        };
        let before = state.continues.as_ref().map(|continues| continues.ledger);
        let mut list = WaitingList::default();
        let mut collected: BTreeMap<EntryName, Collected> = BTreeMap::new();
        for (at, tag) in self.waiting_tags().await?.into_iter().enumerate() {
            if at >= READ_LIMIT {
                let text = format!("more than {READ_LIMIT} entries wait");
                list.findings.push(Finding::new("waiting-unread", &tag, text));
                continue;
            }
            match self.read_waiting(&tag).await? {
                Ok(Some((envelope, entry))) => {
                    let one = collected.entry(envelope.name()).or_insert_with(|| Collected {
                        envelope: envelope.clone(),
                        entry,
                        signatures: BTreeMap::new(),
                        former: BTreeMap::new(),
                        tags: Vec::new(),
                    });
                    one.take(&envelope, opened, state);
                    one.tags.push(tag);
                }
                Ok(None) => {}
                Err(text) => list.findings.push(Finding::new("waiting-refused", &tag, text)),
            }
        }
        for (name, one) in collected {
            // What waited in the ledger before this one can never count here, and nobody did anything wrong.
            if one.entry.ledger.is_some() && one.entry.ledger == before {
                continue;
            }
            match judge(opened, state, name, one) {
                Ok(waiting) => list.entries.push(waiting),
                Err(finding) => list.findings.push(finding),
            }
        }
        list.entries.sort_by_key(|one| (one.entry.at, one.name));
        Ok(list)
    }

    async fn waiting_tags(&self) -> Result<BTreeSet<Tag>, OpenError> {
        let mut tags = BTreeSet::new();
        let mut page = Page::first();
        for _ in 0..PAGE_LIMIT {
            let part = self.home.list_tags(&page).await;
            let part = part.map_err(|source| self.repository_error(source))?;
            let ours = |tag: &Tag| tag.as_str().starts_with(PREFIX);
            tags.extend(part.tags.into_iter().filter(ours));
            match part.next {
                Some(next) if page.after.as_ref() != Some(&next) => page.after = Some(next),
                _ => return Ok(tags),
            }
        }
        let source = RepositoryError::TooLarge {
            subject: "the list of tags".to_owned(),
            limit: PAGE_LIMIT as u64,
        };
        Err(self.repository_error(source))
    }

    /// The inner error says why it is none; none if it is gone.
    async fn read_waiting(&self, tag: &Tag) -> Result<Result<Option<(Envelope, Entry)>, String>, OpenError> {
        let manifest = self.home.read_manifest(&Target::Tag(tag.clone())).await;
        let Some(manifest) = manifest.map_err(|source| self.repository_error(source))? else {
            return Ok(Ok(None));
        };
        let layer = match layer_of(&manifest) {
            Ok(layer) => layer,
            Err(text) => return Ok(Err(text)),
        };
        // One envelope and its line feed.
        let bytes = match content::read(&*self.home, &layer, ENVELOPE_LIMIT as u64 + 1).await {
            Ok(bytes) => bytes,
            Err(content::ContentError::Repository { source, .. }) if !source_is_integrity(&source) => {
                return Err(self.repository_error(source));
            }
            Err(error) => return Ok(Err(chain(&error))),
        };
        let envelopes = match pack::read(&bytes, 1) {
            Ok(envelopes) => envelopes,
            Err(error) => return Ok(Err(chain(&error))),
        };
        Ok(match envelopes.first().map(Entry::read) {
            Some(Ok(read)) => Ok(Some(read)),
            Some(Err(error)) => Err(chain(&error)),
            None => Err("it is empty".to_owned()),
        })
    }

    /// Writes down that `envelope` waits.
    pub(crate) async fn put_waiting(&self, envelope: &Envelope) -> Result<Tag, CommitError> {
        let bytes = pack::write(std::iter::once(envelope.bytes()));
        let layer = pack::descriptor(&bytes);
        let tag = tag(&envelope.name(), &layer.digest);
        let parts = [bytes, Bytes::from_static(b"{}")];
        for part in &parts {
            content::write(&*self.home, part)
                .await
                .map_err(|source| self.write_failed(source))?;
        }
        let manifest = RawManifest::new(media_type::MANIFEST, manifest(layer));
        let target = Target::Tag(tag.clone());
        content::write_manifest(&*self.home, &target, &manifest, &Condition::Always, &parts)
            .await
            .map_err(|source| self.write_failed(source))?;
        Ok(tag)
    }

    /// Takes a waiting entry back: deletes its tags.
    ///
    /// # Errors
    ///
    /// [`CommitError::Write`] where tags cannot be deleted.
    pub async fn withdraw(&self, waiting: &Waiting) -> Result<(), CommitError> {
        for tag in &waiting.tags {
            self.home
                .delete_tag(tag)
                .await
                .map_err(|source| self.write_failed(source))?;
        }
        Ok(())
    }

    fn write_failed(&self, source: RepositoryError) -> CommitError {
        let repository = self.home.label();
        CommitError::Write { repository, source }
    }
}

/// Whether the content is wrong, and not the way to it.
const fn source_is_integrity(source: &RepositoryError) -> bool {
    matches!(
        source,
        RepositoryError::Digest { .. }
            | RepositoryError::Size { .. }
            | RepositoryError::BlobUnknown { .. }
            | RepositoryError::TooLarge { .. }
            | RepositoryError::Damaged { .. }
    )
}

fn tag(name: &EntryName, layer: &Digest) -> Tag {
    let text = format!("{PREFIX}{}-{}", head::short(name), head::short(layer));
    #[expect(clippy::expect_used, reason = "letters, digits and `-`, 41 bytes")]
    text.parse().expect("a valid tag")
}

fn manifest(layer: Descriptor) -> Vec<u8> {
    json::canonical(&Manifest {
        artifact_type: Some(ARTIFACT_TYPE.to_owned()),
        ..Manifest::image(Descriptor::empty(), vec![layer])
    })
}

/// Nobody signed the manifest, so it may say nothing else, and in one form only.
fn layer_of(raw: &RawManifest) -> Result<Descriptor, String> {
    let Document::Manifest(document) = raw.document().map_err(|error| chain(&error))? else {
        return Err("it is not a manifest".to_owned());
    };
    let one = match document.layers.as_slice() {
        [one] if one.media_type == pack::MEDIA_TYPE => {
            Descriptor::new(one.media_type.clone(), one.digest, one.size)
        }
        _ => return Err("it is not a waiting entry".to_owned()),
    };
    if *raw.bytes() != manifest(one.clone()) {
        return Err("its manifest has another form than a waiting entry's".to_owned());
    }
    Ok(one)
}

fn judge(opened: &Opened, state: &State, name: EntryName, one: Collected) -> Result<Waiting, Finding> {
    let refused = |text: &str| Finding::new("waiting-refused", &name, text);
    let Collected {
        envelope,
        entry,
        signatures,
        former,
        tags,
    } = one;
    if entry.ledger != Some(state.ledger) {
        return Err(refused("it belongs to another ledger"));
    }
    let is_former = signatures.is_empty();
    let signatures = if is_former { former } else { signatures };
    let signatures: Vec<Signature> = signatures.into_values().collect();
    let envelope = envelope
        .with_signatures(&signatures)
        .map_err(|_| refused("no key that the ledger ever listed has signed it"))?;
    let signers: BTreeSet<Fingerprint> = signatures.iter().map(|signature| signature.key).collect();
    if entry.names().any(|named| opened.view.position(&named).is_none()) {
        return Err(refused("it stands on an entry that the ledger lacks"));
    }
    let standing = match standing(opened, state, &envelope, &entry, &signers) {
        // Whoever wanted it is no longer trusted, and nobody else has signed it.
        Standing::Open if is_former => Standing::Void {
            why: Why::NotAllowed,
            by: None,
        },
        other => other,
    };
    let mut missing = missing(state, &entry, &signers);
    if missing.is_empty() {
        missing.push(Missing::Append);
    }
    Ok(Waiting {
        name,
        signers,
        missing,
        standing,
        envelope,
        tags,
        entry,
    })
}

/// What would become of it if everybody signed.
fn standing(
    opened: &Opened,
    state: &State,
    envelope: &Envelope,
    entry: &Entry,
    signers: &BTreeSet<Fingerprint>,
) -> Standing {
    let name = envelope.name();
    if let Some(position) = opened.view.position(&name) {
        return Standing::Done(position);
    }
    let mut everybody = everybody(state);
    everybody.extend(signers);
    let outcome = foresee(
        opened,
        &Record {
            name,
            envelope: envelope.bytes().clone(),
            entry: entry.clone(),
            signers: everybody,
        },
    );
    let void = outcome.void().next().map(|(_, why, by)| (why, by));
    match void {
        Some((why, by)) if !has_effect(&entry.kind, &outcome) => Standing::Void { why, by },
        _ => Standing::Open,
    }
}

/// Every key that the ledger lists.
pub(crate) fn everybody(state: &State) -> BTreeSet<Fingerprint> {
    state
        .authority
        .public_keys()
        .map(PublicKey::fingerprint)
        .collect()
}

/// What would become of an entry that is appended now.
pub(crate) fn foresee(opened: &Opened, record: &Record) -> Outcome {
    opened.view.walk.fold.clone().apply(record)
}
