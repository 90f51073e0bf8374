//! What every command has: environment, terminal, the local store, the connection to registries.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cairn_build::{SegmentCounts, SegmentDirectory};
use cairn_layer::{Engine, SegmentCache};
use cairn_ledger::Opened;
use cairn_registry::client::Client;
use cairn_store::{Directory, files};
use tokio::sync::OnceCell;

use crate::args::Global;
use crate::credentials;
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::remembered::Remembering;
use crate::terminal::Terminal;
use crate::workspace::Member;

/// One run of the program.
#[derive(Debug)]
pub struct Cairn {
    /// The global options.
    pub global: Global,
    /// The environment and the clock.
    pub environment: Environment,
    /// Where it speaks.
    pub terminal: Terminal,
    /// The image of a workspace that it acts on, if one was chosen.
    member: Option<Member>,
    /// Each image's own, so that each counts what it found there.
    segments: OnceLock<Arc<SegmentDirectory>>,
    shared: Arc<Shared>,
}

/// What is opened when it is first needed, and once for all images that a command acts on.
#[derive(Debug, Default)]
struct Shared {
    store: OnceCell<Directory>,
    client: OnceCell<Arc<Client>>,
    /// The ledgers that were opened by a remembered state, and the file of that.
    states: Mutex<Vec<(Opened, PathBuf)>>,
}

impl Cairn {
    /// Nothing is opened before it is needed.
    #[must_use]
    pub fn new(global: Global, environment: Environment, terminal: Terminal) -> Self {
        Self {
            global,
            environment,
            terminal,
            member: None,
            segments: OnceLock::new(),
            shared: Arc::default(),
        }
    }

    /// The same, acting on the spec of `member`, and speaking through `terminal`.
    #[must_use]
    pub fn on(&self, member: Member, terminal: Terminal) -> Self {
        Self {
            global: self.global.clone(),
            environment: self.environment.clone(),
            terminal,
            member: Some(member),
            segments: OnceLock::new(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// The directory whose spec the command acts on.
    #[must_use]
    pub fn project_directory(&self) -> PathBuf {
        match &self.member {
            Some(member) => member.directory.clone(),
            None => self.directory(),
        }
    }

    /// The directory that the command acts in: where paths of the command line begin.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        match &self.global.directory {
            Some(directory) => self.environment.absolute(directory),
            None => self.environment.directory.clone(),
        }
    }

    /// Where the local store is.
    ///
    /// # Errors
    ///
    /// When nothing says where.
    pub fn store_path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = self
            .global
            .store
            .clone()
            .or_else(|| self.environment.path("CAIRN_STORE"))
        {
            return Ok(self.environment.absolute(&path));
        }
        Ok(self.environment.store()?)
    }

    /// Where what can be made again is kept; none if nothing says where.
    #[must_use]
    pub fn cache_path(&self) -> Option<PathBuf> {
        self.environment.cache().ok()
    }

    /// How layers are compressed: with `jobs` threads, else one for each processor, and with the cache of segments if
    /// there is a place for it.
    ///
    /// # Errors
    ///
    /// When `CAIRN_CACHE_SIZE` is no size.
    pub fn engine(&self, jobs: Option<NonZeroUsize>) -> Result<Engine, Failure> {
        let threads = jobs.unwrap_or_else(|| self.environment.processors());
        let room = self.environment.cache_size()?;
        let cache = self.cache_path().filter(|_| room > 0).map(|path| {
            let segments = self
                .segments
                .get_or_init(|| Arc::new(SegmentDirectory::open(&path, room)));
            Arc::clone(segments) as Arc<dyn SegmentCache>
        });
        Ok(Engine { threads, cache })
    }

    /// What this command found in the cache of segments, and what it compressed.
    #[must_use]
    pub fn segment_counts(&self) -> SegmentCounts {
        self.segments
            .get()
            .map(|segments| segments.counts())
            .unwrap_or_default()
    }

    /// Keeps the cache of segments within its size, and says what was wrong with it.
    pub fn tidy_segments(&self) {
        let Some(segments) = self.segments.get() else {
            return;
        };
        segments.tidy();
        if let Some(trouble) = segments.take_trouble() {
            let why = std::error::Error::source(&trouble).map_or_else(String::new, |why| format!(": {why}"));
            self.terminal.warn(format!(
                "what was compressed is not kept for the next build: {trouble}{why}"
            ));
        }
    }

    /// The local store.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, such as one that a newer Cairn wrote.
    pub async fn store(&self) -> Result<&Directory, Failure> {
        self.shared
            .store
            .get_or_try_init(|| async { Ok(Directory::open(self.store_path()?)?) })
            .await
    }

    /// The connection to registries.
    ///
    /// # Errors
    ///
    /// None yet.
    pub async fn client(&self) -> Result<&Arc<Client>, Failure> {
        self.shared
            .client
            .get_or_try_init(|| async { Ok(Arc::new(credentials::client(self))) })
            .await
    }

    /// A ledger was opened, perhaps by what was remembered of it.
    pub fn uses_state(&self, opened: &Opened, memory: &Remembering) {
        if opened.new_entries() < opened.view().records().len() {
            let mut states = self.shared.states.lock().unwrap_or_else(PoisonError::into_inner);
            states.push((opened.clone(), memory.state_path()));
        }
    }

    /// Whether everything that was needed of remembered states could be read; a damaged one is removed.
    ///
    /// # Errors
    ///
    /// When one could not be, so that nothing that was said by it is to be believed.
    pub fn check_states(&self) -> Result<(), Failure> {
        let states = self.shared.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut damaged = Ok(());
        for (_, path) in states.iter().filter(|(opened, _)| opened.is_damaged()) {
            let _gone = files::discard(path);
            let text = format!("what was kept of the ledger in {} was damaged", path.display());
            let hint =
                "it is removed: do not believe what was said, and run the same command again".to_owned();
            damaged = Err(Failure::new(Exit::Environment, text).with_hint(hint));
        }
        damaged
    }

    /// Brings what other tools read of the store up to date. To be called once, when a command that wrote is done.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub async fn flush(&self) -> Result<(), Failure> {
        match self.shared.store.get() {
            Some(store) => Ok(cairn_store::Store::flush(store).await?),
            None => Ok(()),
        }
    }
}
