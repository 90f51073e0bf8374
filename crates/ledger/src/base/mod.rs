//! The remembered state: what followed from the first entries of a ledger, written down by whoever verified and folded them.
//!
//! So a ledger that was read before costs what is new in it. It is written where only its reader writes, it is used only for
//! a head whose first entries are proven to be the same by the digests of their packs, and it is read page by page, each value when it is needed.
//! Whatever is strange about it, another format, other rules, a wrong sum, it is as if it were not there.
//!
//! ```text
//!   pages ──▶ shelf ──▶ list, table (values that are read when they are needed, what changed since on top)
//!   codec (values as bytes)            write (a view as bytes)
//!   brief (what questions ask of every entry)
//!   lines (entries, in the packs that a reader keeps)
//! ```

mod brief;
mod codec;
mod front;
mod lines;
mod list;
mod pages;
mod shelf;
mod table;
mod write;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, json};

pub(crate) use brief::{Brief, Briefs};
pub use list::{Iter as ListIter, List};
pub use pages::ReadAt;
pub use table::{Iter as TableIter, Table};
pub use write::Written;
pub(crate) use write::write;

use crate::authority::Authority;
use crate::entry::{EntryName, Mode};
use crate::fold::{self, Fold};
use crate::key::Fingerprint;
use crate::pack;
use crate::reading::{Longer, PackCache};
use crate::state::State;
use crate::verify::Keys;
use crate::walk::{Verifier, Walk};
use front::{Front, Items, Raw};
use pages::Pages;

/// What followed from the first entries of a ledger.
pub(crate) struct Base {
    /// The walk over these entries.
    walk: Walk,
    pub(crate) ledger: EntryName,
    /// The packs that these entries were in.
    pub(crate) packs: Vec<Descriptor>,
    /// SHA-256 of the names of the entries, 32 bytes each.
    pub(crate) names: Digest,
    /// The keys that signed entries, by their number.
    pub(crate) signers: Vec<Fingerprint>,
    briefs: Items,
    pages: Arc<Pages>,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base({} entries of {})", self.size(), self.ledger)
    }
}

/// The packs that a remembered state needs, besides which its reader keeps none; none if `source` is no such state, or one that this
/// program does not use.
#[must_use]
pub fn packs_of(source: Box<dyn ReadAt>) -> Option<Vec<Digest>> {
    let (_, front) = open(source)?;
    Some(front.packs.into_iter().map(|(digest, _)| digest).collect())
}

/// The pages and the front of a state that this program can use.
fn open(source: Box<dyn ReadAt>) -> Option<(Arc<Pages>, Front)> {
    let (pages, front) = Pages::open(source)?;
    let front: Front = json::parse(&front, front.len()).ok()?;
    (front.format == front::FORMAT && front.rules == fold::RULES).then_some((pages, front))
}

impl Base {
    /// What was written by [`write`], if that is how it is, and by a program with these rules. The entries themselves are in `cache`.
    pub(crate) fn load(source: Box<dyn ReadAt>, cache: Arc<dyn PackCache>) -> Option<Arc<Self>> {
        let (pages, front) = open(source)?;
        let size = usize::try_from(front.size).ok()?;
        let packs: Vec<Descriptor> = front
            .packs
            .iter()
            .map(|(digest, size)| Descriptor::new(pack::MEDIA_TYPE, *digest, *size))
            .collect();
        if packs.len() != pack::layout(size).len() {
            return None;
        }
        let mut keys = Keys::new();
        for key in &front.keys {
            keys.insert(key.fingerprint(), key.clone());
        }
        let (ledger, names, signers) = (front.state.ledger, front.names, front.signers.clone());
        let sections = front.sections(&pages);
        let records = lines::shelf(&sections, size, &packs, signers.clone(), cache)?;
        let (briefs, _) = sections.items("briefs").filter(|(_, count)| *count == size)?;
        let walk = Walk {
            records: List::on(Arc::new(records)),
            outcomes: sections.list("outcomes", size)?,
            names: sections.list("names", size)?,
            chain: front.chain.clone(),
            verifier: Verifier::passed(ledger, keys),
            fold: Fold {
                places: sections.table("places")?,
                links: Arc::new(sections.list("links", size)?),
                state: Some(front.state(&sections)?),
            },
            base: None,
        };
        Some(Arc::new(Self {
            walk,
            ledger,
            packs,
            names,
            signers,
            briefs,
            pages,
        }))
    }

    /// The names of these entries.
    pub(crate) fn first_names(&self) -> List<EntryName> {
        self.walk.names.clone()
    }

    /// How many entries.
    pub(crate) const fn size(&self) -> usize {
        self.walk.records.len()
    }

    /// Whether something in it could not be read: then nothing that was made of it is to be believed.
    pub(crate) fn is_damaged(&self) -> bool {
        self.pages.is_damaged()
    }

    /// Something that was read is not what it should be.
    fn mark_damaged(&self) {
        self.pages.mark_damaged();
    }

    /// These entries in brief.
    fn briefs(&self) -> Option<Raw> {
        self.briefs.all()
    }

    /// Every key that these entries ever listed.
    pub(crate) const fn keys(&self) -> &Keys {
        &self.walk.verifier.keys
    }

    pub(crate) const fn state(&self) -> Option<&State> {
        self.walk.fold.state()
    }

    /// The walk over these entries, to be gone on with.
    pub(crate) fn walk(self: &Arc<Self>) -> Walk {
        Walk {
            base: Some(Arc::clone(self)),
            ..self.walk.clone()
        }
    }

    /// How many of the packs at the beginning of `packs` are also those at the beginning of this.
    pub(crate) fn shared(&self, packs: &[Descriptor]) -> usize {
        let layout = pack::layout(self.size());
        let mut at = 0;
        let mut end = 0;
        for (range, (mine, other)) in layout.into_iter().zip(self.packs.iter().zip(packs)) {
            if range.start != end || mine.digest != other.digest {
                break;
            }
            end = range.end;
            at += 1;
        }
        at
    }

    /// These entries, if they begin with those of a shorter head of `size` entries that has `packs`.
    pub(crate) fn longer<'a>(self: &'a Arc<Self>, size: usize, packs: &[Descriptor]) -> Option<Longer<'a>> {
        if size >= self.size() {
            return None;
        }
        let others = pack::layout(size).into_iter().zip(packs).skip(self.shared(packs));
        let is_same = |(range, descriptor): (Range<usize>, &Descriptor)| {
            let records = self.walk.records.range(range);
            Digest::of(&pack::write(records.map(|record| &record.envelope))) == descriptor.digest
        };
        others.into_iter().all(is_same).then(|| Longer {
            ledger: self.ledger,
            records: &self.walk.records,
            base: Some(self),
            chain: &self.walk.chain,
            mode: self.state().map_or(Mode::Causal, |state| state.mode),
        })
    }

    /// Whether `lines`, which begin where the first `shared` packs end, begin with the entries of the other packs. Returns those packs.
    pub(crate) fn proof(&self, shared: usize, lines: &[Bytes]) -> Option<Vec<Bytes>> {
        let layout = pack::layout(self.size());
        let start = shared.checked_sub(1).and_then(|last| layout.get(last));
        let start = start.map_or(0, |last| last.end);
        let others = layout.iter().zip(&self.packs).skip(shared);
        let pack = |(range, descriptor): (&Range<usize>, &Descriptor)| {
            let lines = lines.get(range.start - start..range.end - start)?;
            let bytes = pack::write(lines.iter());
            (Digest::of(&bytes) == descriptor.digest).then_some(bytes)
        };
        others.map(pack).collect()
    }
}

/// Where keys or rules changed in effect, with the list of keys where that changed.
pub(crate) type Chain = Vec<(usize, Option<Authority>)>;
