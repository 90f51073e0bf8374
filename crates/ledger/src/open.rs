//! Opening a ledger: reading all of it, and deciding whether it is the right one.

use std::fmt;
use std::sync::Arc;

use cairn_oci::Digest;
use cairn_store::{RawManifest, Repository, RepositoryError, Target};

use crate::base::{self, Base, ReadAt};
use crate::causal::{self, Before};
use crate::class::Class;
use crate::entry::{EntryName, Mode};
use crate::finding::Finding;
use crate::head::{self, HeadError, HeadInfo};
use crate::memory::{Memory, Remembered, RememberedError};
use crate::reading::{self, Known, PackCache, Place, Reading};
use crate::state::State;
use crate::trust::{HowTrusted, TrustPolicy};
use crate::view::View;

/// A ledger and the images that it speaks of. Both may be the same repository.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(crate) home: Arc<dyn Repository>,
    pub(crate) images: Arc<dyn Repository>,
    pub(crate) cache: Option<Arc<dyn PackCache>>,
    /// What was remembered of it.
    base: Option<Arc<Base>>,
}

/// A ledger as it was read.
#[derive(Debug, Clone)]
pub struct Opened {
    pub(crate) view: View,
    pub(crate) policy: TrustPolicy,
    pub(crate) how: HowTrusted,
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The repository cannot be read.
    #[error("cannot read the ledger of {repository}")]
    Repository {
        /// Which repository.
        repository: String,
        /// Why not.
        source: RepositoryError,
    },
    /// A head's content cannot be reached.
    #[error("cannot read the head {digest} of the ledger of {repository}")]
    Unreadable {
        /// Which repository.
        repository: String,
        /// Which head.
        digest: Digest,
        /// Why not.
        source: HeadError,
    },
    /// The head does not count: a key is missing, or a byte is wrong.
    #[error("the head {digest} of the ledger of {repository} does not count")]
    Refused {
        /// Which repository.
        repository: String,
        /// Which head.
        digest: Digest,
        /// Why not.
        source: HeadError,
    },
    /// There are only heads that do not count.
    #[error("no head of the ledger of {repository} counts")]
    NoHead {
        /// Which repository.
        repository: String,
        /// Why not, one for each.
        findings: Vec<Finding>,
    },
    /// Two ledgers, and nothing says which one is meant.
    #[error("{repository} has two ledgers: {first} and {second}")]
    TwoLedgers {
        /// Which repository.
        repository: String,
        /// The name of one genesis.
        first: EntryName,
        /// The name of another.
        second: EntryName,
    },
    /// A ledger is expected and there is none.
    #[error("{repository} has no ledger; expected {expected}")]
    Gone {
        /// Which repository.
        repository: String,
        /// The name of the genesis that was pinned or remembered.
        expected: EntryName,
    },
    /// The pin names another ledger.
    #[error("the ledger of {repository} is {found}, but {pinned} is pinned")]
    NotPinned {
        /// Which repository.
        repository: String,
        /// The name of the genesis that was pinned.
        pinned: EntryName,
        /// The name of the one that is there.
        found: EntryName,
    },
    /// An entry of the pin is not there.
    #[error("ROLLBACK: the ledger of {repository} lacks the pinned entry {entry}")]
    PinnedEntry {
        /// Which repository.
        repository: String,
        /// Which entry.
        entry: EntryName,
    },
    /// The ledger is not a continuation of what was remembered.
    #[error("{}", remembered_text(repository, memory))]
    Remembered {
        /// Which repository.
        repository: String,
        /// How it differs, with both sides.
        memory: Box<Memory>,
    },
    /// The remembered state was found damaged after the ledger was opened with it.
    #[error("what was kept of the ledger {ledger} is damaged; nothing was written")]
    Damaged {
        /// The name of its genesis.
        ledger: EntryName,
    },
    /// What is remembered of it cannot be read.
    #[error("what is remembered of the ledger of {repository} cannot be read")]
    Forgotten {
        /// Which repository.
        repository: String,
        /// Why not.
        source: RememberedError,
    },
}

fn remembered_text(repository: &str, memory: &Memory) -> String {
    let head = |head: &Option<Digest>| head.map_or_else(|| "none".to_owned(), |head| head.to_string());
    match memory {
        Memory::Continues => format!("the ledger of {repository} continues what is remembered"),
        Memory::OtherGenesis { remembered, found } => {
            format!("FORK: the ledger of {repository} is {found}; remembered is {remembered}")
        }
        Memory::Rollback {
            remembered,
            remembered_size,
            missing,
            found,
            found_size,
        } => format!(
            "ROLLBACK: the ledger of {repository} has {found_size} entries (head {}); remembered are {remembered_size} (head {remembered}); the first that is missing is {missing}",
            head(found)
        ),
        Memory::Fork {
            remembered,
            remembered_size,
            position,
            expected,
            found,
            found_size,
        } => format!(
            "FORK: the ledger of {repository} has {found_size} entries (head {}) and not {expected} at position {position}, as remembered ({remembered_size} entries, head {remembered})",
            head(found)
        ),
    }
}

impl OpenError {
    /// Where the cause lies.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Repository { source, .. } => Class::of(source),
            Self::Unreadable { .. } | Self::Damaged { .. } => Class::Environment,
            _ => Class::Integrity,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Repository { .. } | Self::Unreadable { .. } => None,
            Self::Refused { .. } | Self::NoHead { .. } => Some(
                "somebody without an allowed key wrote it, or content is damaged; nothing is appended to it".to_owned(),
            ),
            Self::TwoLedgers { .. } => {
                Some("pin the right one: [ledger] trust = \"sha256:…\", --trust or CAIRN_TRUST".to_owned())
            }
            Self::Remembered { repository, memory } if matches!(**memory, Memory::Rollback { .. }) => Some(format!(
                "an older copy was put in place, or newer entries are withheld: find out before you go on; nothing is appended to it. Where a copy has what is missing, this brings it back: cairn copy COPY {repository} --ledger"
            )),
            Self::Gone { .. } | Self::PinnedEntry { .. } | Self::Remembered { .. } => Some(
                "an older copy was put in place, or another ledger: find out before you go on; nothing is appended to it".to_owned(),
            ),
            Self::Damaged { .. } => Some("it is removed: run the same command again".to_owned()),
            Self::Forgotten { .. } => Some(
                "going on without it would let an older ledger through; whoever knows why it is lost removes the memory as a whole".to_owned(),
            ),
            Self::NotPinned { .. } => Some("correct the pin, or find out who began another ledger".to_owned()),
        }
    }
}

impl Opened {
    /// All entries, and what follows from them.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// What the ledger says; none if there is no ledger.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.view.state()
    }

    /// How appending works; none if there is no ledger.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.state().map(|state| state.mode)
    }

    /// The head that was read.
    #[must_use]
    pub const fn head(&self) -> Option<&HeadInfo> {
        self.view.head()
    }

    /// What did not count, and why.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.view.findings()
    }

    /// Why the ledger is believed to be the right one.
    #[must_use]
    pub const fn how_trusted(&self) -> HowTrusted {
        self.how
    }

    /// Whether it is appended to in the repository that is called `here`; elsewhere it is a copy.
    #[must_use]
    pub fn is_at_home(&self, here: &str) -> bool {
        self.state()
            .is_some_and(|state| crate::operation::is_at_home(state, here))
    }

    /// Whether something of the remembered state could not be read since the ledger was opened: nothing that was said of it is
    /// to be believed then, and that state is to be removed.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.view.known.is_damaged()
    }

    /// How many entries are not in the remembered state.
    #[must_use]
    pub fn new_entries(&self) -> usize {
        self.view.walk().new_count()
    }

    /// How many entries' signatures were verified now. The others were verified before, by whoever kept the packs and the remembered
    /// state; their bytes are proven to be the same by the digests of their packs.
    #[must_use]
    pub fn verified_entries(&self) -> usize {
        let mut verified = self.view.known.verified();
        verified.sort_unstable();
        verified.dedup();
        verified.iter().filter(|name| self.view.has(name)).count()
    }

    /// What follows from all entries, to be kept for the next command; none if several heads have them, or there is none.
    #[must_use]
    pub fn to_keep(&self) -> Option<base::Written> {
        base::write(&self.view).filter(|_| !self.is_damaged())
    }

    /// What is to be remembered; none if there is no ledger.
    #[must_use]
    pub fn remember(&self) -> Option<Remembered> {
        Remembered::of(&self.view)
    }

    /// The same policy, from now on with all that was seen.
    pub(crate) fn policy_from_here(&self) -> TrustPolicy {
        TrustPolicy {
            pin: self.policy.pin.clone(),
            remembered: self.remember(),
        }
    }
}

impl fmt::Display for HowTrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinned => "pinned",
            Self::Remembered => "remembered",
            Self::FirstSeen => "first seen",
        })
    }
}

impl Ledger {
    /// A ledger in `home` that speaks of the images in `images`.
    pub fn new(home: Arc<dyn Repository>, images: Arc<dyn Repository>) -> Self {
        Self {
            home,
            images,
            cache: None,
            base: None,
        }
    }

    /// A ledger beside the images that it speaks of.
    pub fn beside(images: Arc<dyn Repository>) -> Self {
        Self::new(Arc::clone(&images), images)
    }

    /// The same, with packs kept in `cache`.
    #[must_use]
    pub fn with_cache(self, cache: Arc<dyn PackCache>) -> Self {
        Self {
            cache: Some(cache),
            ..self
        }
    }

    /// The same, with what [`Opened::to_keep`] made of it before. It is used where it is proven to be of the first entries of the
    /// ledger; whatever is strange about it, it is as if there were none. It must come from where nobody else writes, and the ledger
    /// must have a cache of packs.
    #[must_use]
    pub fn with_state(self, state: Box<dyn ReadAt>) -> Self {
        let cache = self.cache.clone();
        Self {
            base: cache.and_then(|cache| Base::load(state, cache)),
            ..self
        }
    }

    /// The repository of the ledger.
    #[must_use]
    pub fn home(&self) -> &Arc<dyn Repository> {
        &self.home
    }

    /// The repository of the images.
    #[must_use]
    pub fn images(&self) -> &Arc<dyn Repository> {
        &self.images
    }

    /// Reads the whole ledger, verifies every signature, and holds it against what is known of it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. That there is no ledger is none, unless one is pinned or remembered.
    pub async fn open(&self, policy: &TrustPolicy) -> Result<Opened, OpenError> {
        if let Some(base) = self
            .base
            .as_ref()
            .filter(|base| policy.genesis() == Some(base.ledger))
        {
            let known = Arc::new(Known::of(Some(Arc::clone(base))));
            let opened = self.open_with(policy, known).await;
            if !base.is_damaged() {
                return opened;
            }
        }
        self.open_with(policy, Arc::default()).await
    }

    async fn open_with(&self, policy: &TrustPolicy, known: Arc<Known>) -> Result<Opened, OpenError> {
        let expected = policy.genesis();
        let remembered = policy
            .remembered
            .as_ref()
            .filter(|remembered| Some(remembered.genesis) == expected);
        let before = Before {
            expected,
            heads: remembered.map(Remembered::all_heads).unwrap_or_default(),
            seen: remembered
                .map(|remembered| remembered.seen.clone())
                .unwrap_or_default(),
            is_remembered: remembered.is_some(),
            known,
        };
        let view = self.read_view(&before).await?;
        self.check_trust(&view, policy)?;
        Ok(Opened {
            view,
            policy: policy.clone(),
            how: policy.how(),
        })
    }

    /// Reads again what was opened, which must be a continuation. What was verified is not verified again.
    pub(crate) async fn reopen(&self, opened: &Opened) -> Result<Opened, OpenError> {
        let how = opened.how;
        let policy = opened.policy_from_here();
        Ok(Opened {
            how,
            ..self.open_with(&policy, Arc::clone(&opened.view.known)).await?
        })
    }

    /// Whether the ledger is still the one that was opened, without reading it.
    pub(crate) async fn is_current(&self, opened: &Opened) -> Result<bool, OpenError> {
        if opened.mode() != Some(Mode::Linear) {
            return Ok(false);
        }
        let stat = self.home.stat_manifest(&Target::Tag(head::linear_tag())).await;
        let found = stat.map_err(|source| self.repository_error(source))?;
        Ok(found.map(|found| found.digest) == opened.head().map(|head| head.digest))
    }

    pub(crate) fn repository_error(&self, source: RepositoryError) -> OpenError {
        let repository = self.home.label();
        OpenError::Repository { repository, source }
    }

    /// Reads what `cairn-head` names if that is the right ledger, else the heads of causal mode. Who may push can write either
    /// kind of tag, so neither hides a ledger of the other kind.
    pub(crate) async fn read_view(&self, before: &Before) -> Result<View, OpenError> {
        let tag = head::linear_tag();
        let manifest = self.home.read_manifest(&Target::Tag(tag.clone())).await;
        let Some(manifest) = manifest.map_err(|source| self.repository_error(source))? else {
            return causal::read_view(self, before).await;
        };
        let linear = self.read_linear(&manifest, &before.known).await;
        let ledger = |view: &View| view.state().map(|state| state.ledger);
        match &linear {
            Ok(view) if before.expected.is_some() && ledger(view) == before.expected => return linear,
            Err(OpenError::Refused { .. }) | Ok(_) => {}
            Err(_) => return linear,
        }
        let causal = causal::read_view(self, before).await;
        let found = match &causal {
            Ok(view) => ledger(view),
            Err(OpenError::TwoLedgers { .. }) => return causal,
            Err(_) => None,
        };
        let is_expected = found.is_some() && (before.expected.is_none() || found == before.expected);
        match (linear, causal, found) {
            (Ok(linear), Ok(_), Some(second)) if before.expected.is_none() => Err(OpenError::TwoLedgers {
                repository: self.home.label(),
                first: ledger(&linear).unwrap_or(second),
                second,
            }),
            (linear, Ok(mut view), _) if is_expected => {
                let (code, message) = match linear {
                    Ok(_) => ("other-ledger", "a head of another ledger".to_owned()),
                    Err(error) => ("head-refused", crate::finding::chain(&error)),
                };
                view.findings.push(Finding::new(code, &tag, message));
                Ok(view)
            }
            (linear, ..) => linear,
        }
    }

    async fn read_linear(&self, manifest: &RawManifest, known: &Arc<Known>) -> Result<View, OpenError> {
        let digest = manifest.digest();
        let place = Place {
            repository: &*self.home,
            cache: self.cache.as_deref(),
            known,
        };
        let read = async {
            let front = reading::front(&*self.home, manifest).await?;
            match place.read(&front, None).await? {
                Reading::Counts(head) if head.mode == Mode::Linear => Ok(head),
                _ => Err(HeadError::Mode),
            }
        };
        let repository = || self.home.label();
        match read.await {
            Ok(head) => Ok(View::of(&head, known.walk(&head), Arc::clone(known))),
            Err(source) if source.is_environment() => Err(OpenError::Unreadable {
                repository: repository(),
                digest,
                source,
            }),
            Err(source) => Err(OpenError::Refused {
                repository: repository(),
                digest,
                source,
            }),
        }
    }

    fn check_trust(&self, view: &View, policy: &TrustPolicy) -> Result<(), OpenError> {
        let repository = || self.home.label();
        let found = view.state().map(|state| state.ledger);
        let Some(found) = found else {
            return match policy.genesis() {
                Some(expected) => Err(OpenError::Gone {
                    repository: repository(),
                    expected,
                }),
                None => Ok(()),
            };
        };
        if let Some(pin) = &policy.pin {
            let pinned = pin.genesis;
            if pinned != found {
                return Err(OpenError::NotPinned {
                    repository: repository(),
                    pinned,
                    found,
                });
            }
            if let Some(entry) = pin.entries.iter().find(|name| view.position(name).is_none()) {
                return Err(OpenError::PinnedEntry {
                    repository: repository(),
                    entry: *entry,
                });
            }
        }
        // A pin overrules the memory of another ledger, and nothing else.
        let memory = policy
            .remembered
            .as_ref()
            .map(|remembered| remembered.check(view))
            .transpose()
            .map_err(|source| OpenError::Forgotten {
                repository: repository(),
                source,
            })?;
        match memory {
            None | Some(Memory::Continues) => Ok(()),
            Some(Memory::OtherGenesis { .. }) if policy.pin.is_some() => Ok(()),
            Some(memory) => Err(OpenError::Remembered {
                repository: repository(),
                memory: Box::new(memory),
            }),
        }
    }
}
