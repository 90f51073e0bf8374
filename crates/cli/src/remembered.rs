//! What is kept of ledgers that were read, in the state directory: the entries seen, what followed from them, and their packs.
//!
//! ```text
//!   ledgers/HOST/NAME/_seen.json      which entries were seen: nobody can show an older ledger
//!   ledgers/HOST/NAME/_names-…        the first of their names, if there are many
//!   ledgers/HOST/NAME/_state          what followed from them: may be deleted
//!   packs/                            packs that were read, and what was verified of them: may be deleted
//! ```
//!
//! Whenever a `_state` is written, the packs that no `_state` needs are removed. Whatever is removed while a command runs, by that or
//! by hand, is read again, or as the command holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cairn_ledger::base::{self, ReadAt};
use cairn_ledger::memory::{self, NameSource, RememberedError};
use cairn_ledger::view::PackCache;
use cairn_ledger::{Opened, Remembered};
use cairn_oci::{Digest, Reference};
use cairn_store::files::{self, FileError, Lock};

use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// How many new entries are folded again by each command, rather than the remembered state be written anew.
const NEW: usize = 64;
/// What the names of the files of names begin with.
const NAMES: &str = "_names-";
/// The directory of all ledgers.
const LEDGERS: &str = "ledgers";
/// The file of what followed from the entries.
const STATE: &str = "_state";
/// What the name of the file ends with that says what was verified of a pack.
const VERIFIED: &str = ".verified";
/// How many packs a command holds on to: those of some 400,000 entries.
const OPEN: usize = 128;

/// The files of one ledger.
#[derive(Debug)]
pub struct Remembering {
    seen: PathBuf,
    packs: PathBuf,
    /// The names of the entries that the remembered state covers which this command wrote.
    written: Mutex<Bytes>,
}

/// Why what was seen is not remembered.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was remembered before cannot be read.
    #[error("the names that were seen before cannot be read")]
    Names(#[source] RememberedError),
}

impl Remembering {
    /// Local stores are told apart by their path.
    ///
    /// # Errors
    ///
    /// When nothing says where it is kept.
    pub fn of(cairn: &Cairn, home: &Reference) -> Result<Self, Failure> {
        let state = cairn.environment.state()?;
        let ledgers = state.join(LEDGERS);
        let place = match &home.host {
            Some(host) => ledgers.join(host),
            None => {
                let path = cairn.store_path()?;
                let digest = Digest::of(path.as_os_str().as_bytes());
                ledgers.join("local").join(&digest.hex()[..16])
            }
        };
        Ok(Self {
            seen: place.join(home.name.as_str()).join("_seen.json"),
            packs: state.join("packs"),
            written: Mutex::default(),
        })
    }

    /// The packs that were read.
    #[must_use]
    pub fn packs(&self) -> Arc<dyn PackCache> {
        let directory = self.packs.clone();
        Arc::new(Packs {
            directory,
            open: Mutex::default(),
        })
    }

    /// What followed from the entries, if that is kept.
    #[must_use]
    pub fn state(&self) -> Option<Box<dyn ReadAt>> {
        Some(Box::new(StateFile::open(&self.state_path())?))
    }

    /// Where what followed from the entries is kept.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.seen.with_file_name(STATE)
    }

    /// What was seen; none if nothing was.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn recall(&self) -> Result<Option<Remembered>, Failure> {
        let path = &self.seen;
        let failed = |error: io::Error| {
            Failure::new(
                Exit::Environment,
                format!("cannot read {}: {error}", path.display()),
            )
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(memory::LIMIT as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        self.parse(&bytes).map(Some).map_err(|error| {
            // Going on without it would let an older ledger through.
            Failure::of(Exit::Integrity, &error).with_hint(format!(
                "if you know why, remove {} ; the ledger is then trusted as if it were seen for the first time",
                path.display()
            ))
        })
    }

    fn parse(&self, bytes: &[u8]) -> Result<Remembered, RememberedError> {
        let remembered = Remembered::parse(bytes)?;
        let Some(names) = remembered.entries.begin() else {
            return Ok(remembered);
        };
        let path = self.names_path(&names);
        Ok(remembered.with_names(Arc::new(NamesFile { path })))
    }

    fn names_path(&self, names: &Digest) -> PathBuf {
        self.seen.with_file_name(format!("{NAMES}{}", &names.hex()[..16]))
    }

    /// Keeps what was seen, and if there is much that is new, what follows from it.
    ///
    /// # Errors
    ///
    /// [`KeepError`].
    pub fn keep(&self, opened: &Opened) -> Result<(), KeepError> {
        let Some(mut remembered) = opened.remember() else {
            return Ok(());
        };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let covered = written.len() / 32;
        let known = opened.view().records().len().saturating_sub(opened.new_entries());
        let new = opened.view().records().len().saturating_sub(known.max(covered));
        if new >= NEW
            && let Some(state) = opened.to_keep()
        {
            files::write_cached(&self.state_path(), &state.bytes)?;
            *written = state.names;
            self.discard_packs();
        }
        if !written.is_empty() {
            remembered = remembered.begun(&written);
        }
        self.keep_seen(&remembered)
    }

    /// Writes a memory, unless the one that is there knows entries of the same ledger that this one does not: a command that
    /// began before another must not make it forget.
    fn keep_seen(&self, remembered: &Remembered) -> Result<(), KeepError> {
        if let Some(directory) = self.seen.parent() {
            files::create_directories(directory)?;
        }
        let _alone = Lock::exclusive(&self.seen.with_file_name("_lock"))?;
        let before = std::fs::read(&self.seen)
            .ok()
            .and_then(|bytes| self.parse(&bytes).ok());
        if let Some(before) = &before {
            let is_same = before.entries.begin() == remembered.entries.begin() && before == remembered;
            let of_same = before.genesis == remembered.genesis;
            if is_same
                || (of_same
                    && !before
                        .entries
                        .are_in(&remembered.entries)
                        .map_err(KeepError::Names)?)
            {
                return Ok(());
            }
        }
        let begin = remembered.entries.begin();
        if let Some(names) = &begin {
            let path = self.names_path(names);
            if !path.exists()
                && let Some(bytes) = remembered.entries.begin_bytes().map_err(KeepError::Names)?
            {
                files::write(&path, &bytes, files::PRIVATE)?;
            }
        }
        files::write(&self.seen, &remembered.to_bytes(), files::PRIVATE)?;
        self.discard_names(&[begin, before.and_then(|before| before.entries.begin())]);
        Ok(())
    }

    /// Removes the packs that no remembered state needs. Of ledgers without one they are read again.
    fn discard_packs(&self) {
        let mut needed = BTreeSet::new();
        let mut directories = vec![self.packs.with_file_name(LEDGERS)];
        while let Some(directory) = directories.pop() {
            for name in files::list(&directory).unwrap_or_default() {
                let path = directory.join(&name);
                if name == STATE {
                    let state = StateFile::open(&path);
                    let packs = state.and_then(|state| base::packs_of(Box::new(state)));
                    needed.extend(packs.into_iter().flatten());
                } else if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                    directories.push(path);
                }
            }
        }
        for name in files::list(&self.packs).unwrap_or_default() {
            let pack = Digest::from_hex(name.strip_suffix(VERIFIED).unwrap_or(&name));
            if pack.is_ok_and(|pack| !needed.contains(&pack)) {
                let _gone = files::discard(&self.packs.join(&name));
            }
        }
    }

    /// Removes the files of names that nobody needs; a command that runs now may need those from before.
    fn discard_names(&self, needed: &[Option<Digest>]) {
        if needed.first() == needed.last() {
            return;
        }
        let keep: Vec<PathBuf> = needed
            .iter()
            .flatten()
            .map(|names| self.names_path(names))
            .collect();
        let Some(directory) = self.seen.parent() else {
            return;
        };
        for name in files::list(directory).unwrap_or_default() {
            let path = directory.join(&name);
            if name.starts_with(NAMES) && !keep.contains(&path) {
                let _gone = files::discard(&path);
            }
        }
    }
}

/// A remembered state in its file.
#[derive(Debug)]
struct StateFile {
    file: File,
    length: u64,
}

impl StateFile {
    fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        Some(Self { file, length })
    }
}

impl ReadAt for StateFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, to: &mut [u8], offset: u64) -> bool {
        self.file.read_exact_at(to, offset).is_ok()
    }
}

/// The first names of what was seen, in their file.
#[derive(Debug)]
struct NamesFile {
    path: PathBuf,
}

impl NameSource for NamesFile {
    fn read(&self) -> io::Result<Bytes> {
        std::fs::read(&self.path).map(Bytes::from)
    }
}

/// Packs that were read, by digest: whoever has read a ledger before moves only what is new.
#[derive(Debug)]
struct Packs {
    directory: PathBuf,
    /// What is held can be read to the end, also if somebody removes it.
    open: Mutex<BTreeMap<Digest, Held>>,
}

/// A pack that a command holds on to.
#[derive(Debug, Clone)]
enum Held {
    /// As it is kept.
    File(Arc<File>),
    /// As it was got by this command.
    Bytes(Bytes),
}

impl Held {
    fn piece(&self, start: usize, length: usize) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => {
                let piece = bytes.get(start..start.checked_add(length)?)?;
                Some(bytes.slice_ref(piece))
            }
            Self::File(file) => {
                let mut piece = vec![0; length];
                file.read_exact_at(&mut piece, start as u64).ok()?;
                Some(piece.into())
            }
        }
    }

    fn whole(&self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::File(file) => self.piece(0, usize::try_from(file.metadata().ok()?.len()).ok()?),
        }
    }
}

impl PackCache for Packs {
    fn get(&self, digest: &Digest) -> Option<Bytes> {
        let bytes = self.held(digest)?.whole();
        if let Some(bytes) = bytes.filter(|bytes| Digest::of(bytes) == *digest) {
            return Some(bytes);
        }
        // A damaged file is thrown away, and what was noted of it.
        self.close(digest);
        let _gone = files::discard(&self.directory.join(digest.hex()));
        let _gone = files::discard(&self.note_of(digest));
        None
    }

    fn put(&self, digest: &Digest, pack: &Bytes) {
        self.hold(digest, Held::Bytes(pack.clone()));
        // A cache that cannot be written only costs time. What is in it is checked when it is read.
        let _unkept = files::write_cached(&self.directory.join(digest.hex()), pack);
    }

    fn has(&self, digest: &Digest) -> bool {
        self.held(digest).is_some()
    }

    fn piece(&self, digest: &Digest, start: usize, length: usize) -> Option<Bytes> {
        self.held(digest)?.piece(start, length)
    }

    fn note(&self, digest: &Digest) -> Option<Bytes> {
        std::fs::read(self.note_of(digest)).ok().map(Bytes::from)
    }

    fn put_note(&self, digest: &Digest, note: &Bytes) {
        let _unkept = files::write_cached(&self.note_of(digest), note);
    }
}

impl Packs {
    /// Which signatures of a pack were verified.
    fn note_of(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}{VERIFIED}", digest.hex()))
    }

    fn held(&self, digest: &Digest) -> Option<Held> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let held = open.get(digest).cloned();
        drop(open);
        held.or_else(|| {
            let file = File::open(self.directory.join(digest.hex())).ok()?;
            let held = Held::File(Arc::new(file));
            self.hold(digest, held.clone());
            Some(held)
        })
    }

    fn hold(&self, digest: &Digest, held: Held) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() < OPEN || open.contains_key(digest) {
            open.insert(*digest, held);
        }
    }

    fn close(&self, digest: &Digest) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(entries: &[&str]) -> Remembered {
        let entries: Vec<Digest> = entries.iter().map(|entry| Digest::of(entry.as_bytes())).collect();
        Remembered {
            genesis: entries[0],
            head: Digest::of(b"head"),
            entries: entries.into(),
            heads: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    fn begun(entries: &[&str], begin: usize) -> Remembered {
        let names: Vec<u8> = entries[..begin]
            .iter()
            .flat_map(|entry| *Digest::of(entry.as_bytes()).as_bytes())
            .collect();
        let begun = remembered(entries).begun(&names.into());
        assert!(begun.entries.begin().is_some());
        begun
    }

    fn remembering(directory: &Path) -> Remembering {
        Remembering {
            seen: directory.join("deep/_seen.json"),
            packs: directory.join("packs"),
            written: Mutex::default(),
        }
    }

    fn read(files: &Remembering) -> Remembered {
        files
            .recall()
            .unwrap_or_else(|failure| panic!("{failure}"))
            .unwrap()
    }

    #[test]
    fn a_command_that_saw_less_does_not_make_another_forget() {
        let directory = tempfile::tempdir().unwrap();
        let files = remembering(directory.path());
        files.keep_seen(&remembered(&["g", "1"])).unwrap();
        files.keep_seen(&remembered(&["g", "1", "2"])).unwrap();
        files.keep_seen(&remembered(&["g", "1"])).unwrap();
        assert_eq!(read(&files), remembered(&["g", "1", "2"]));
        // The same with the first names in a file of their own, wherever they end.
        files.keep_seen(&begun(&["g", "1", "2", "3"], 3)).unwrap();
        files.keep_seen(&begun(&["g", "1"], 1)).unwrap();
        files.keep_seen(&remembered(&["g", "1", "2"])).unwrap();
        assert_eq!(read(&files), remembered(&["g", "1", "2", "3"]));
        // Another ledger, which a pin allowed.
        files.keep_seen(&remembered(&["other"])).unwrap();
        assert_eq!(read(&files), remembered(&["other"]));
    }

    #[test]
    fn names_in_a_file_of_their_own_are_missed() {
        let directory = tempfile::tempdir().unwrap();
        let files = remembering(directory.path());
        files.keep_seen(&begun(&["g", "1", "2"], 2)).unwrap();
        let names = files.names_path(&read(&files).entries.begin().unwrap());
        let whole = std::fs::read(&names).unwrap();
        assert_eq!(read(&files).entries.all().unwrap().len(), 3);
        assert!(files::discard(&names).unwrap());
        assert!(matches!(
            read(&files).entries.all(),
            Err(RememberedError::Names(_))
        ));
        files::write(&names, &whole[..32], files::PRIVATE).unwrap();
        assert!(matches!(
            read(&files).entries.all(),
            Err(RememberedError::Damaged)
        ));
    }

    #[test]
    fn old_files_of_names_do_not_pile_up() {
        let directory = tempfile::tempdir().unwrap();
        let files = remembering(directory.path());
        let all = ["g", "1", "2", "3", "4", "5"];
        for size in 2..all.len() {
            files.keep_seen(&begun(&all[..size], size)).unwrap();
            assert_eq!(read(&files).entries.all().unwrap().len(), size);
        }
        let listed = files::list(files.seen.parent().unwrap()).unwrap();
        let names = listed.iter().filter(|name| name.starts_with(NAMES));
        assert_eq!(names.count(), 2);
    }

    fn packs(directory: &Path) -> Packs {
        Packs {
            directory: directory.join("packs"),
            open: Mutex::default(),
        }
    }

    #[test]
    fn a_pack_that_is_removed_while_a_command_runs_is_read_to_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = Bytes::from_static(b"entries");
        let digest = Digest::of(&bytes);
        packs(directory.path()).put(&digest, &bytes);
        let reader = packs(directory.path());
        assert!(reader.has(&digest));
        assert!(files::discard(&directory.path().join("packs").join(digest.hex())).unwrap());
        assert_eq!(reader.piece(&digest, 2, 3), Some(bytes.slice(2..5)));
        assert_eq!(reader.get(&digest), Some(bytes.clone()));
        // Also what was got a moment ago, and the next command gets it again.
        reader.put(&digest, &bytes);
        assert!(files::discard(&directory.path().join("packs").join(digest.hex())).unwrap());
        assert_eq!(reader.piece(&digest, 2, 3), Some(bytes.slice(2..5)));
        assert!(!packs(directory.path()).has(&digest));
    }

    #[test]
    fn a_damaged_pack_is_thrown_away_and_may_be_put_again() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = Bytes::from_static(b"entries");
        let digest = Digest::of(&bytes);
        let path = directory.path().join("packs").join(digest.hex());
        files::write(&path, b"entrieS", files::PRIVATE).unwrap();
        let reader = packs(directory.path());
        assert!(reader.has(&digest));
        assert_eq!(reader.get(&digest), None);
        assert!(!path.exists());
        reader.put(&digest, &bytes);
        assert_eq!(reader.get(&digest), Some(bytes));
    }

    #[test]
    fn packs_that_no_state_needs_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let files = remembering(directory.path());
        let bytes = Bytes::from_static(b"entries");
        let digest = Digest::of(&bytes);
        let packs = packs(directory.path());
        packs.put(&digest, &bytes);
        packs.put_note(&digest, &bytes);
        let other = directory.path().join("packs/README");
        files::write(&other, b"", files::PRIVATE).unwrap();
        // One that cannot be read needs nothing, and is no reason to stop.
        let state = directory.path().join("ledgers/host/team/_state");
        files::write(&state, b"no state", files::PRIVATE).unwrap();
        files.discard_packs();
        assert_eq!(files::list(&directory.path().join("packs")).unwrap(), ["README"]);
    }
}
