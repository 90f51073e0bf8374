//! The front of a remembered state: everything of which there is little, and where the rest is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_oci::Digest;
use serde::{Deserialize, Serialize};

use super::codec::Flat;
use super::pages::Pages;
use super::shelf::{Shelf, Source};
use super::{Chain, List, Table};
use crate::authority::{Authority, Rules};
use crate::entry::{Continues, EntryName, Mode};
use crate::key::{Fingerprint, PublicKey};
use crate::name::Channel;
use crate::state::{ChannelState, Glass, Hold, Shown, State, Touch};

/// The format of the file.
pub(super) const FORMAT: u32 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Front {
    pub(super) format: u32,
    /// The rules of the fold.
    pub(super) rules: u32,
    pub(super) size: u64,
    pub(super) names: Digest,
    pub(super) packs: Vec<(Digest, u64)>,
    pub(super) keys: Vec<PublicKey>,
    /// The keys that signed entries, by the number that lines have for them.
    pub(super) signers: Vec<Fingerprint>,
    pub(super) chain: Chain,
    pub(super) state: Plain,
    pub(super) sections: BTreeMap<String, Section>,
}

/// A [`State`] without its tables.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plain {
    pub(super) ledger: EntryName,
    mode: Mode,
    home: String,
    chain: EntryName,
    authority: Authority,
    rules: Rules,
    channels: BTreeMap<Channel, PlainChannel>,
    glass: BTreeMap<EntryName, Glass>,
    continues: Option<Continues>,
    unknown: Option<(u64, String)>,
}

/// A [`ChannelState`] without its tables.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainChannel {
    shows: Option<Shown>,
    hold: Option<Hold>,
    last: Option<Touch>,
    slots: BTreeSet<Channel>,
}

impl Plain {
    pub(super) fn of(state: &State) -> Self {
        let channels = state.channels.iter().map(|(name, channel)| {
            let plain = PlainChannel {
                shows: channel.shows.clone(),
                hold: channel.hold.clone(),
                last: channel.last.clone(),
                slots: channel.slots.clone(),
            };
            (name.clone(), plain)
        });
        Self {
            ledger: state.ledger,
            mode: state.mode,
            home: state.home.clone(),
            chain: state.chain,
            authority: state.authority.clone(),
            rules: state.rules.clone(),
            channels: channels.collect(),
            glass: state.glass.clone(),
            continues: state.continues.clone(),
            unknown: state.unknown.clone(),
        }
    }
}

impl Front {
    pub(super) fn sections<'a>(&'a self, pages: &'a Arc<Pages>) -> Sections<'a> {
        Sections {
            pages,
            all: &self.sections,
        }
    }

    /// The state, whose tables are in `sections`.
    pub(super) fn state(&self, sections: &Sections<'_>) -> Option<State> {
        let plain = &self.state;
        let channels = plain.channels.iter().map(|(name, channel)| {
            let state = ChannelState {
                trail: sections.list_of(&of_channel("trail", name))?,
                stays: sections.table(&of_channel("stays", name))?,
                wanted: sections.table(&of_channel("wanted", name))?,
                taken: sections.table(&of_channel("taken", name))?,
                shows: channel.shows.clone(),
                hold: channel.hold.clone(),
                last: channel.last.clone(),
                slots: channel.slots.clone(),
            };
            Some((name.clone(), state))
        });
        Some(State {
            channels: channels.collect::<Option<_>>()?,
            ledger: plain.ledger,
            mode: plain.mode,
            home: plain.home.clone(),
            chain: plain.chain,
            authority: plain.authority.clone(),
            rules: plain.rules.clone(),
            versions: sections.table("versions")?,
            named: sections.table("named")?,
            pruned: sections.table("pruned")?,
            glass: plain.glass.clone(),
            continues: plain.continues.clone(),
            unknown: plain.unknown.clone(),
        })
    }
}

/// What a section of a channel is called.
pub(super) fn of_channel(what: &str, channel: &Channel) -> String {
    format!("{what} {channel}")
}

/// Values one after the other, then where each of them ends, four bytes each.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub(super) start: u64,
    /// Bytes of all values.
    pub(super) length: u64,
    pub(super) count: u64,
}

/// The sections of a file.
pub(super) struct Sections<'a> {
    pages: &'a Arc<Pages>,
    all: &'a BTreeMap<String, Section>,
}

impl Sections<'_> {
    /// The values of a section; one that was not written has none.
    pub(super) fn items(&self, name: &str) -> Option<(Items, usize)> {
        let section = self.all.get(name).copied().unwrap_or(Section {
            start: 0,
            length: 0,
            count: 0,
        });
        let count = usize::try_from(section.count).ok()?;
        let pages = Arc::clone(self.pages);
        Some((Items { pages, section }, count))
    }

    pub(super) fn list_of<T: Flat + 'static>(&self, name: &str) -> Option<List<T>> {
        let (items, count) = self.items(name)?;
        Some(List::on(Arc::new(Shelf::new(Box::new(items), count))))
    }

    /// A list that must have `count` values.
    pub(super) fn list<T: Flat + 'static>(&self, name: &str, count: usize) -> Option<List<T>> {
        self.list_of(name).filter(|list| list.len() == count)
    }

    pub(super) fn table<K: Flat + 'static, V: Flat + 'static>(&self, name: &str) -> Option<Table<K, V>> {
        let (items, count) = self.items(name)?;
        Some(Table::on(Arc::new(Shelf::new(Box::new(items), count))))
    }
}

/// The values of a section.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) pages: Arc<Pages>,
    section: Section,
}

/// All values of a section as bytes, and where each of them ends.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<u32>,
}

impl Raw {
    /// How many values.
    pub(super) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of the value at a place.
    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)? as usize;
        let start = at.checked_sub(1).map_or(Some(0), |before| {
            self.ends.get(before).map(|start| *start as usize)
        })?;
        self.bytes.get(start..end)
    }
}

impl Items {
    /// The bytes of the value at a place.
    pub(super) fn bytes(&self, at: usize) -> Option<Vec<u8>> {
        let section = self.section;
        let at = at as u64;
        let ends = section.start.checked_add(section.length)?;
        let from = ends.checked_add(at.saturating_sub(1).checked_mul(4)?)?;
        let known = self
            .pages
            .read(from..ends.checked_add(at.checked_add(1)?.checked_mul(4)?)?)?;
        let (known, _) = known.as_chunks::<4>();
        let number = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
        let (start, end) = match known {
            [end] => (0, number(end)),
            [start, end] => (number(start), number(end)),
            _ => return None,
        };
        if start > end || end > section.length {
            self.pages.mark_damaged();
            return None;
        }
        self.pages.read(section.start + start..section.start + end)
    }

    pub(super) fn all(&self) -> Option<Raw> {
        let section = self.section;
        let ends = section.start.checked_add(section.length)?;
        let bytes = self.pages.read(section.start..ends)?;
        let known = self
            .pages
            .read(ends..ends.checked_add(section.count.checked_mul(4)?)?)?;
        let (known, _) = known.as_chunks::<4>();
        let ends = known.iter().map(|end| u32::from_le_bytes(*end)).collect();
        Some(Raw { bytes, ends })
    }
}

impl<T: Flat> Source<T> for Items {
    fn load(&self, at: usize) -> Option<T> {
        let value = T::whole(&self.bytes(at)?);
        if value.is_none() {
            self.pages.mark_damaged();
        }
        value
    }

    fn all(&self) -> Option<Raw> {
        Self::all(self)
    }
}
