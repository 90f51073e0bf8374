//! What a reader remembers of a ledger, so that nobody can show it an older or another one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cairn_oci::{Digest, json};
use serde::{Deserialize, Serialize};

use crate::base::List;
use crate::causal::COUNT_LIMIT as SEEN_LIMIT;
use crate::entry::{EntryName, Mode};
use crate::pack::ENTRY_LIMIT;
use crate::view::View;

/// Longest file of a memory, in bytes.
pub const LIMIT: usize = 512 << 20;

/// The entries that were seen, in order.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// The name of the genesis.
    pub genesis: EntryName,
    /// The head that was read.
    pub head: Digest,
    /// The names of its entries, in order.
    pub entries: Names,
    /// Causal mode: the heads whose entries these are, if they are more than one.
    pub heads: Vec<Digest>,
    /// Causal mode: other heads that have only these entries, by the first 16 digits of their digests; they need not be read again.
    pub seen: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    schema: u32,
    genesis: EntryName,
    head: Digest,
    size: u64,
    /// The first names, which are kept elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begin: Option<WireBegin>,
    /// The others: 32 bytes each, one after the other, in base64.
    entries: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<Digest>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    seen: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBegin {
    size: u64,
    /// SHA-256 of these names, 32 bytes each.
    names: Digest,
}

/// The names of entries, in order. The first ones may be kept elsewhere, so that they need not be read where it is known anyway
/// that a ledger has them.
#[derive(Debug, Clone, Default)]
pub struct Names {
    begin: Option<Begin>,
    rest: Vec<EntryName>,
}

#[derive(Debug, Clone)]
struct Begin {
    size: u64,
    names: Digest,
    source: Option<Arc<dyn NameSource>>,
}

/// Where the first names are kept.
pub trait NameSource: Send + Sync + fmt::Debug {
    /// All of them, 32 bytes each.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn read(&self) -> std::io::Result<Bytes>;
}

impl NameSource for Bytes {
    fn read(&self) -> std::io::Result<Bytes> {
        Ok(self.clone())
    }
}

impl NameSource for List<EntryName> {
    fn read(&self) -> std::io::Result<Bytes> {
        Ok(self.iter().flat_map(|name| *name.as_bytes()).collect())
    }
}

impl From<Vec<EntryName>> for Names {
    fn from(rest: Vec<EntryName>) -> Self {
        Self { begin: None, rest }
    }
}

impl Names {
    /// How many there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.begin.as_ref().map_or(0, |begin| begin.size) + self.rest.len() as u64
    }

    /// All of them.
    ///
    /// # Errors
    ///
    /// [`RememberedError`] if the first ones cannot be read, or are not those that were kept.
    pub fn all(&self) -> Result<Vec<EntryName>, RememberedError> {
        let mut all = match &self.begin {
            Some(begin) => begin.read()?,
            None => Vec::new(),
        };
        all.extend(&self.rest);
        Ok(all)
    }

    /// SHA-256 of the first names, if they are kept elsewhere.
    #[must_use]
    pub fn begin(&self) -> Option<Digest> {
        self.begin.as_ref().map(|begin| begin.names)
    }

    /// The first names as bytes, 32 each, if they are kept elsewhere.
    ///
    /// # Errors
    ///
    /// [`RememberedError`] if they cannot be read, or are not those that were kept.
    pub fn begin_bytes(&self) -> Result<Option<Bytes>, RememberedError> {
        let begin = self.begin.as_ref().map(Begin::bytes);
        begin.transpose()
    }

    /// Whether both have the same names in the same order.
    ///
    /// # Errors
    ///
    /// [`RememberedError`] if they must be read for that, and cannot be.
    pub fn are(&self, other: &Self) -> Result<bool, RememberedError> {
        if self.size() != other.size() {
            return Ok(false);
        }
        if self.begin() == other.begin() {
            return Ok(self.rest == other.rest);
        }
        Ok(self.all()? == other.all()?)
    }

    /// Whether `other` has all of these.
    ///
    /// # Errors
    ///
    /// [`RememberedError`] if they must be read for that, and cannot be.
    pub fn are_in(&self, other: &Self) -> Result<bool, RememberedError> {
        if self.begin() == other.begin() && other.rest.starts_with(&self.rest) {
            return Ok(true);
        }
        let (mine, theirs) = (self.all()?, other.all()?);
        if theirs.starts_with(&mine) {
            return Ok(true);
        }
        let theirs: BTreeSet<EntryName> = theirs.into_iter().collect();
        Ok(mine.iter().all(|name| theirs.contains(name)))
    }
}

impl Names {
    /// The names behind `names`, if it begins with those.
    fn behind(&self, names: &Bytes) -> Option<Vec<EntryName>> {
        let (names, []) = names.as_chunks::<32>() else {
            return None;
        };
        let begin = self.begin.as_ref().map_or(0, |begin| begin.size);
        let (first, others) = names.split_at_checked(usize::try_from(begin).ok()?)?;
        let is_same = self
            .begin
            .as_ref()
            .is_none_or(|begin| Digest::of(first.as_flattened()) == begin.names);
        let (same, rest) = self.rest.split_at_checked(others.len())?;
        let are_same = same
            .iter()
            .zip(others)
            .all(|(name, other)| name.as_bytes() == other);
        (is_same && are_same).then(|| rest.to_vec())
    }

    fn of(view: &View) -> Self {
        let walk = view.walk();
        let begin = walk.base.as_ref().map(|base| Begin {
            size: base.size() as u64,
            names: base.names,
            source: Some(Arc::new(base.first_names())),
        });
        Self {
            begin,
            rest: walk.names.rest().to_vec(),
        }
    }
}

impl PartialEq for Remembered {
    /// Names that cannot be read are equal to none.
    fn eq(&self, other: &Self) -> bool {
        self.genesis == other.genesis
            && self.head == other.head
            && self.heads == other.heads
            && self.seen == other.seen
            && self.entries.are(&other.entries).unwrap_or(false)
    }
}

impl Eq for Remembered {}

impl Begin {
    fn bytes(&self) -> Result<Bytes, RememberedError> {
        let source = self.source.as_ref().ok_or(RememberedError::Damaged)?;
        let bytes = source.read().map_err(RememberedError::Names)?;
        if Digest::of(&bytes) != self.names || bytes.len() as u64 != self.size * 32 {
            return Err(RememberedError::Damaged);
        }
        Ok(bytes)
    }

    fn read(&self) -> Result<Vec<EntryName>, RememberedError> {
        let bytes = self.bytes()?;
        let (names, _) = bytes.as_chunks::<32>();
        Ok(names.iter().map(|name| Digest::from_bytes(*name)).collect())
    }
}

/// Why bytes are not a memory.
#[derive(Debug, thiserror::Error)]
pub enum RememberedError {
    /// Not a document of the right shape.
    #[error("what was remembered of the ledger cannot be read")]
    Json(#[source] json::JsonError),
    /// Its parts do not fit together.
    #[error("what was remembered of the ledger is damaged")]
    Damaged,
    /// The names of its first entries, which are kept in a file of their own, cannot be read.
    #[error("the names of the entries that were seen cannot be read")]
    Names(#[source] std::io::Error),
    /// Another Cairn wrote it.
    #[error("what was remembered of the ledger has version {found}; this Cairn reads 1 and 2")]
    Version {
        /// Its version.
        found: u32,
    },
}

/// How a ledger stands to what was remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// It has everything, in the same order.
    Continues,
    /// It is another ledger.
    OtherGenesis {
        /// What was remembered.
        remembered: EntryName,
        /// What is there.
        found: EntryName,
    },
    /// It lacks entries at the end that were there before.
    Rollback {
        /// The head that was remembered.
        remembered: Digest,
        /// How many entries were remembered.
        remembered_size: u64,
        /// The first one that is missing.
        missing: EntryName,
        /// The head that is there.
        found: Option<Digest>,
        /// How many entries are there.
        found_size: u64,
    },
    /// It lacks an entry, or has it elsewhere, and has others instead.
    Fork {
        /// The head that was remembered.
        remembered: Digest,
        /// How many entries were remembered.
        remembered_size: u64,
        /// The first position at which they differ.
        position: u64,
        /// What was there.
        expected: EntryName,
        /// The head that is there.
        found: Option<Digest>,
        /// How many entries are there.
        found_size: u64,
    },
}

impl Remembered {
    /// What is to be remembered of `view`; nothing of an empty one.
    #[must_use]
    pub fn of(view: &View) -> Option<Self> {
        Some(Self {
            genesis: view.state()?.ledger,
            head: view.head()?.digest,
            entries: Names::of(view),
            heads: view.head_digests().into_iter().skip(1).collect(),
            seen: view.seen.iter().take(SEEN_LIMIT).cloned().collect(),
        })
    }

    /// The heads that were read.
    pub(crate) fn all_heads(&self) -> Vec<Digest> {
        std::iter::once(self.head)
            .chain(self.heads.iter().copied())
            .collect()
    }

    /// How many entries are remembered.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entries.size()
    }

    /// The same, with the first names in `source`.
    #[must_use]
    pub fn with_names(mut self, source: Arc<dyn NameSource>) -> Self {
        if let Some(begin) = &mut self.entries.begin {
            begin.source = Some(source);
        }
        self
    }

    /// The same, with the first names kept elsewhere: `names` are those, 32 bytes each. Nothing changes if these are others.
    #[must_use]
    pub fn begun(mut self, names: &Bytes) -> Self {
        if let Some(rest) = self.entries.behind(names) {
            self.entries = Names {
                begin: Some(Begin {
                    size: names.len() as u64 / 32,
                    names: Digest::of(names),
                    source: Some(Arc::new(names.clone())),
                }),
                rest,
            };
        }
        self
    }

    /// As bytes to keep, always the same for the same value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let rest = self.entries.rest.iter();
        let entries: Vec<u8> = rest.flat_map(|name| *name.as_bytes()).collect();
        let begin = self.entries.begin.as_ref().map(|begin| WireBegin {
            size: begin.size,
            names: begin.names,
        });
        json::canonical(&Wire {
            // Who does not know of names elsewhere must not take these for all.
            schema: if begin.is_some() { 2 } else { 1 },
            begin,
            genesis: self.genesis,
            head: self.head,
            size: self.size(),
            entries: STANDARD.encode(entries),
            heads: self.heads.clone(),
            seen: self.seen.clone(),
        })
    }

    /// Reads what [`Remembered::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// [`RememberedError`]. A memory that cannot be read is not the same as none: it may hide an attack.
    pub fn parse(bytes: &[u8]) -> Result<Self, RememberedError> {
        let wire: Wire = json::parse(bytes, LIMIT).map_err(RememberedError::Json)?;
        if wire.schema != 1 + u32::from(wire.begin.is_some()) {
            return Err(RememberedError::Version { found: wire.schema });
        }
        let bytes = STANDARD
            .decode(&wire.entries)
            .map_err(|_| RememberedError::Damaged)?;
        let (names, rest) = bytes.as_chunks::<32>();
        let entries = Names {
            begin: wire.begin.map(|begin| Begin {
                size: begin.size,
                names: begin.names,
                source: None,
            }),
            rest: names.iter().map(|name| Digest::from_bytes(*name)).collect(),
        };
        let begins = match wire.begin {
            Some(begin) => begin.size > 0 && begin.size <= ENTRY_LIMIT as u64,
            None => entries.rest.first() == Some(&wire.genesis),
        };
        if !rest.is_empty() || entries.size() != wire.size || !begins {
            return Err(RememberedError::Damaged);
        }
        Ok(Self {
            genesis: wire.genesis,
            head: wire.head,
            entries,
            heads: wire.heads,
            seen: wire.seen,
        })
    }

    /// Compares `view` with what is remembered. In causal mode entries may have moved, and only a missing one counts.
    ///
    /// # Errors
    ///
    /// [`RememberedError`] if names that are kept elsewhere must be read for that, and cannot be.
    pub fn check(&self, view: &View) -> Result<Memory, RememberedError> {
        if let Some(state) = view.state().filter(|state| state.ledger != self.genesis) {
            return Ok(Memory::OtherGenesis {
                remembered: self.genesis,
                found: state.ledger,
            });
        }
        let is_causal = view.state().is_some_and(|state| state.mode == Mode::Causal);
        let is_there = |(position, name): (usize, &EntryName)| {
            let found = view.position(name);
            found.is_some_and(|found| is_causal || found == position as u64)
        };
        // The digests of the packs have proven that the view begins with these.
        let base = view.walk().base.as_ref();
        let proven = base
            .zip(self.entries.begin.as_ref())
            .filter(|(base, begin)| base.size() as u64 == begin.size && base.names == begin.names);
        let missing = match proven {
            Some((base, _)) => (base.size()..)
                .zip(&self.entries.rest)
                .find(|(at, name)| !is_there((*at, *name)))
                .map(|(at, name)| (at, *name)),
            None => (0..)
                .zip(self.entries.all()?)
                .find(|(at, name)| !is_there((*at, name))),
        };
        match missing {
            None => Ok(Memory::Continues),
            Some((position, name)) => self.difference(view, position as u64, name),
        }
    }

    fn difference(&self, view: &View, position: u64, name: EntryName) -> Result<Memory, RememberedError> {
        let found = view.head().map(|head| head.digest);
        let (remembered, remembered_size) = (self.head, self.size());
        let found_size = view.records().len() as u64;
        let known: BTreeSet<EntryName> = self.entries.all()?.into_iter().collect();
        let is_prefix = view.names().all(|name| known.contains(&name));
        if is_prefix && found_size < remembered_size {
            return Ok(Memory::Rollback {
                remembered,
                remembered_size,
                missing: name,
                found,
                found_size,
            });
        }
        Ok(Memory::Fork {
            remembered,
            remembered_size,
            position,
            expected: name,
            found,
            found_size,
        })
    }
}
