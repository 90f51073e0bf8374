//! A view as a remembered state.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::{Digest, json};

use super::brief::{self, Briefs};
use super::codec::Flat;
use super::front::{self, Front, Plain, Raw, Section, of_channel};
use super::lines::Line;
use super::shelf::Shelf;
use super::{List, Table, pages};
use crate::fold::{self, Record};
use crate::key::Fingerprint;
use crate::pack;
use crate::verify::on_all_cores;
use crate::view::View;
use crate::walk::Walk;

/// A remembered state that is to be kept.
#[derive(Debug, Clone)]
pub struct Written {
    /// The file.
    pub bytes: Bytes,
    /// How many entries it covers.
    pub size: u64,
    /// Their names, 32 bytes each.
    pub names: Bytes,
}

/// Writes down what follows from the entries of `view`; nothing if it is of more than one head, or too large.
pub(crate) fn write(view: &View) -> Option<Written> {
    let (walk, head, state) = (view.walk(), view.head()?, view.state()?);
    let size = walk.records.len();
    if view.heads.len() != 1 || head.size != size as u64 || view.packs.len() != pack::layout(size).len() {
        return None;
    }
    let mut sections = Writer::default();
    let names = sections.list("names", &walk.names)?;
    sections.list("outcomes", &walk.outcomes)?;
    sections.list("links", &walk.fold.links)?;
    let signers = sections.lines(&walk.records, &walk.signers())?;
    sections.briefs(walk)?;
    sections.table("places", &walk.fold.places)?;
    sections.table("versions", &state.versions)?;
    sections.table("named", &state.named)?;
    sections.table("pruned", &state.pruned)?;
    for (name, channel) in &state.channels {
        sections.list(&of_channel("trail", name), &channel.trail)?;
        sections.table(&of_channel("stays", name), &channel.stays)?;
        sections.table(&of_channel("wanted", name), &channel.wanted)?;
        sections.table(&of_channel("taken", name), &channel.taken)?;
    }
    let names = Bytes::copy_from_slice(sections.data.get(names)?);
    let front = Front {
        format: front::FORMAT,
        rules: fold::RULES,
        size: size as u64,
        names: Digest::of(&names),
        packs: view.packs.iter().map(|pack| (pack.digest, pack.size)).collect(),
        keys: walk.verifier.keys.values().cloned().collect(),
        signers,
        chain: walk.chain.clone(),
        state: Plain::of(state),
        sections: sections.sections,
    };
    Some(Written {
        bytes: pages::write(sections.data, &json::canonical(&front)),
        size: size as u64,
        names,
    })
}

#[derive(Default)]
struct Writer {
    data: Vec<u8>,
    sections: BTreeMap<String, Section>,
}

/// Values that are being written.
struct Open {
    start: usize,
    ends: Vec<u32>,
}

impl Writer {
    const fn begin(&self) -> Open {
        Open {
            start: self.data.len(),
            ends: Vec::new(),
        }
    }

    /// Copies values as they are.
    fn copy(&mut self, open: &mut Open, raw: &Raw, range: Range<usize>) -> Option<()> {
        for at in range {
            self.data.extend_from_slice(raw.get(at)?);
            self.end_one(open)?;
        }
        Some(())
    }

    fn add(&mut self, open: &mut Open, value: &impl Flat) -> Option<()> {
        value.put(&mut self.data);
        self.end_one(open)
    }

    fn end_one(&self, open: &mut Open) -> Option<()> {
        open.ends.push(u32::try_from(self.data.len() - open.start).ok()?);
        Some(())
    }

    /// Returns where the values are.
    fn end(&mut self, name: &str, open: &Open) -> Range<usize> {
        let end = self.data.len();
        let section = Section {
            start: open.start as u64,
            length: (end - open.start) as u64,
            count: open.ends.len() as u64,
        };
        for end in &open.ends {
            end.put(&mut self.data);
        }
        self.sections.insert(name.to_owned(), section);
        open.start..end
    }

    fn list<T: Flat>(&mut self, name: &str, list: &List<T>) -> Option<Range<usize>> {
        let mut open = self.begin();
        if let Some(base) = list.base() {
            self.copy(&mut open, &base.all()?, 0..list.kept())?;
        }
        for value in list.rest() {
            self.add(&mut open, value)?;
        }
        Some(self.end(name, &open))
    }

    fn table<K: Flat + Ord, V: Flat>(&mut self, name: &str, table: &Table<K, V>) -> Option<()> {
        let mut open = self.begin();
        let base = table.base().filter(|base| base.len() > 0);
        let raw = base.map_or_else(|| Some(Raw::default()), |base| base.all())?;
        let mut next = 0;
        for (key, value) in table.changed() {
            let (at, is_there) = match table.place(key) {
                Ok(at) => (at, true),
                Err(at) => (at, false),
            };
            self.copy(&mut open, &raw, next..at)?;
            next = at + usize::from(is_there);
            if let Some(value) = value {
                key.put(&mut self.data);
                self.add(&mut open, value)?;
            }
        }
        self.copy(&mut open, &raw, next..base.map_or(0, |base| base.len()))?;
        self.end(name, &open);
        Some(())
    }

    fn briefs(&mut self, walk: &Walk) -> Option<()> {
        let briefs = Briefs::of(walk)?;
        let mut open = self.begin();
        self.copy(&mut open, briefs.raw(), 0..walk.records.len())?;
        self.end("briefs", &open);
        Some(())
    }

    /// Where each entry is in its pack. Returns the keys by their number.
    fn lines(&mut self, records: &List<Arc<Record>>, known: &[Fingerprint]) -> Option<Vec<Fingerprint>> {
        let mut signers = known.to_vec();
        let raw = records
            .base()
            .map_or_else(|| Some(Raw::default()), |base: &Arc<Shelf<_>>| base.all())?;
        let sums = on_all_cores(records.rest(), |record| Line::sum_of(&record.envelope));
        let mut open = self.begin();
        for range in pack::layout(records.len()) {
            let mut offset = 0;
            for at in range {
                let mut line = match at.checked_sub(records.kept()) {
                    None => Line::whole(raw.get(at)?)?,
                    Some(at) => line_of(records.rest().get(at)?, *sums.get(at)?, &mut signers)?,
                };
                line.offset = offset;
                offset = offset.checked_add(line.length)?.checked_add(1)?;
                self.add(&mut open, &line)?;
            }
        }
        self.end("lines", &open);
        Some(signers)
    }
}

fn line_of(record: &Record, sum: [u8; 16], signers: &mut Vec<Fingerprint>) -> Option<Line> {
    Some(Line {
        offset: 0,
        length: u32::try_from(record.envelope.len()).ok()?,
        sum,
        signers: brief::numbers(record, signers)?,
    })
}
