//! What a reader remembers of a ledger, so that nobody can show it an older or another one.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_oci::{Digest, json};
use serde::{Deserialize, Serialize};

use crate::causal::COUNT_LIMIT as SEEN_LIMIT;
use crate::entry::{EntryName, Mode};
use crate::view::View;

/// Longest file of a memory, in bytes.
pub const LIMIT: usize = 512 << 20;

/// The entries that were seen, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The name of the genesis.
    pub genesis: EntryName,
    /// The head that was read.
    pub head: Digest,
    /// The names of its entries, in order.
    pub entries: Vec<EntryName>,
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
    /// 32 bytes each, one after the other, in base64.
    entries: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<Digest>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    seen: BTreeSet<String>,
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
    /// Another Cairn wrote it.
    #[error("what was remembered of the ledger has version {found}; this Cairn reads 1")]
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
            entries: view.names().collect(),
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
        self.entries.len() as u64
    }

    /// As bytes to keep, always the same for the same value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let entries: Vec<u8> = self.entries.iter().flat_map(|name| *name.as_bytes()).collect();
        json::canonical(&Wire {
            schema: 1,
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
        if wire.schema != 1 {
            return Err(RememberedError::Version { found: wire.schema });
        }
        let bytes = STANDARD
            .decode(&wire.entries)
            .map_err(|_| RememberedError::Damaged)?;
        let (names, rest) = bytes.as_chunks::<32>();
        let entries: Vec<EntryName> = names.iter().map(|name| Digest::from_bytes(*name)).collect();
        let fits =
            rest.is_empty() && entries.len() as u64 == wire.size && entries.first() == Some(&wire.genesis);
        if !fits {
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
    #[must_use]
    pub fn check(&self, view: &View) -> Memory {
        if let Some(state) = view.state().filter(|state| state.ledger != self.genesis) {
            return Memory::OtherGenesis {
                remembered: self.genesis,
                found: state.ledger,
            };
        }
        let is_causal = view.state().is_some_and(|state| state.mode == Mode::Causal);
        let is_there = |(position, name): (usize, &EntryName)| {
            let found = view.position(name);
            found.is_some_and(|found| is_causal || found == position as u64)
        };
        let missing = (0..)
            .zip(&self.entries)
            .find(|(at, name)| !is_there((*at, *name)));
        match missing {
            None => Memory::Continues,
            Some((position, name)) => self.difference(view, position as u64, *name),
        }
    }

    fn difference(&self, view: &View, position: u64, name: EntryName) -> Memory {
        let found = view.head().map(|head| head.digest);
        let (remembered, remembered_size) = (self.head, self.size());
        let found_size = view.records().len() as u64;
        let known: BTreeSet<&EntryName> = self.entries.iter().collect();
        let is_prefix = view.names().all(|name| known.contains(&name));
        if is_prefix && found_size < remembered_size {
            return Memory::Rollback {
                remembered,
                remembered_size,
                missing: name,
                found,
                found_size,
            };
        }
        Memory::Fork {
            remembered,
            remembered_size,
            position,
            expected: name,
            found,
            found_size,
        }
    }
}
