//! What trusted releases were made of, for a build that would have to compress.
//!
//! The ledger is read and verified as for every other verb. Of its releases that stand, the records that they have signed
//! are read from the images' repository, by digest. What is merely attached to an image there is not looked at.

use async_trait::async_trait;
use cairn_build::{BuildRecord, ReleasedLayer, Releases, build_record};
use cairn_ledger::build_record::{Recorded, recent};
use futures_util::{StreamExt as _, stream};
use tokio::sync::OnceCell;

use crate::failure::{Exit, Failure};
use crate::ledgers::{LedgerPlace, OpenLedger};
use crate::program::Cairn;

/// How many records are read at a time.
const AT_ONCE: usize = 8;

/// Releases of a ledger whose records are read when they are first asked for.
#[derive(Debug)]
pub struct Released<'a> {
    ledger: Source<'a>,
    read: OnceCell<Read>,
}

#[derive(Debug)]
enum Source<'a> {
    /// A ledger that was opened.
    Open(&'a OpenLedger),
    /// One that is opened when it is needed.
    Place(&'a Cairn, Box<LedgerPlace>),
}

#[derive(Debug, Default)]
struct Read {
    layers: Vec<ReleasedLayer>,
    /// The ledger, if it was opened for this.
    opened: Option<OpenLedger>,
    /// What could not be used. A build says it when nothing else is on the terminal.
    trouble: Vec<String>,
}

impl<'a> Released<'a> {
    /// Of a ledger that was opened.
    #[must_use]
    pub const fn of(open: &'a OpenLedger) -> Self {
        Self {
            ledger: Source::Open(open),
            read: OnceCell::const_new(),
        }
    }

    /// Of the ledger at `place`, which is not opened before it is needed.
    #[must_use]
    pub fn at(cairn: &'a Cairn, place: LedgerPlace) -> Self {
        Self {
            ledger: Source::Place(cairn, Box::new(place)),
            read: OnceCell::const_new(),
        }
    }

    /// Says how a ledger is believed that was opened for this, and what could not be used. To be called after the build.
    pub fn tell(&self, cairn: &Cairn) {
        let Some(read) = self.read.get() else { return };
        if let Some(opened) = &read.opened {
            opened.tell_trust(cairn);
        }
        for trouble in &read.trouble {
            cairn.terminal.warn(trouble);
        }
    }

    async fn read(&self) -> Read {
        let mut read = Read::default();
        match &self.ledger {
            Source::Open(open) => read.records(open).await,
            Source::Place(cairn, place) => match LedgerPlace::clone(place).open(cairn).await {
                Ok(open) => {
                    read.records(&open).await;
                    read.opened = Some(open);
                }
                // An image can be built and pushed without it; what needs the ledger finds out by itself.
                Err(failure) => {
                    let text = format!("no layer is taken over from a release: {}", failure.to_line());
                    read.trouble.push(text);
                }
            },
        }
        read
    }
}

impl Read {
    async fn records(&mut self, open: &OpenLedger) {
        let read = |recorded: Recorded| async move {
            let bytes = open
                .ledger
                .read_record(recorded.record, build_record::LIMIT as u64)
                .await;
            let record = match bytes {
                Ok(bytes) => BuildRecord::parse(&bytes).map_err(|error| sentence(&error)),
                Err(error) => Err(sentence(&error)),
            };
            (recorded, record)
        };
        let mut records = stream::iter(recent(&open.opened).into_iter().map(read)).buffered(AT_ONCE);
        while let Some((Recorded { version, record }, read)) = records.next().await {
            match read {
                Ok(read) => self.layers.extend(read.layers().map(|layer| ReleasedLayer {
                    version: version.to_string(),
                    layer: layer.clone(),
                })),
                Err(why) => self.trouble.push(format!(
                    "the build record {record} of {version} is not used: {why}"
                )),
            }
        }
    }
}

fn sentence(error: &dyn std::error::Error) -> String {
    Failure::of(Exit::Integrity, error).to_line()
}

#[async_trait]
impl Releases for Released<'_> {
    async fn layers(&self) -> &[ReleasedLayer] {
        &self.read.get_or_init(|| self.read()).await.layers
    }
}
