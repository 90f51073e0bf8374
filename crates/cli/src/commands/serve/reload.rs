//! Files that are read again while the server runs: at SIGHUP, and when they changed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::Signal;

use crate::failure::{Classify, Exit, Failure};
use crate::terminal::Terminal;

/// How often the files are looked at.
const PAUSE: Duration = Duration::from_secs(5);

/// A file of the server cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("there is no file {} of at most {limit} bytes", path.display())]
pub struct Missing {
    path: PathBuf,
    limit: usize,
}

impl Classify for Missing {
    fn exit(&self) -> Exit {
        Exit::Input
    }
}

/// What becomes of the contents of files that belong together.
type Take = Box<dyn Fn(&[Vec<u8>]) -> Result<(), Failure> + Send + Sync>;

/// Files that belong together, and what to do with them.
pub struct Watched {
    /// How messages call them: `certificate`.
    what: &'static str,
    files: Vec<PathBuf>,
    limit: usize,
    seen: Vec<Vec<u8>>,
    /// They could not be read the last time, and that was said.
    is_missing: bool,
    take: Take,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Watched {
    /// `files`, whose content is `seen` and was taken.
    pub fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        limit: usize,
        seen: Vec<Vec<u8>>,
        take: impl Fn(&[Vec<u8>]) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Self {
        Self {
            what,
            files,
            limit,
            seen,
            is_missing: false,
            take: Box::new(take),
        }
    }

    /// Takes the files anew if they changed, or if somebody asked for it.
    fn refresh(&mut self, asked: bool, terminal: &Terminal) {
        let what = self.what;
        let bytes = match read_all(&self.files, self.limit) {
            Ok(bytes) => bytes,
            Err(failure) => {
                if asked || !self.is_missing {
                    let failure = failure.to_string();
                    terminal.warn(format!("the {what} stays as it was: {}", failure.trim_end()));
                }
                self.is_missing = true;
                return;
            }
        };
        self.is_missing = false;
        if bytes == self.seen && !asked {
            return;
        }
        match (self.take)(&bytes) {
            Ok(()) => terminal.say(format!("the {what} was read again")),
            Err(failure) => {
                let failure = failure.to_string();
                terminal.warn(format!(
                    "the new {what} is not taken, the one before stays: {}",
                    failure.trim_end()
                ));
            }
        }
        self.seen = bytes;
    }
}

/// The contents of `files`.
///
/// # Errors
///
/// The first that cannot be read, or is too long.
pub fn read_all(files: &[PathBuf], limit: usize) -> Result<Vec<Vec<u8>>, Failure> {
    let read = |path: &Path| {
        let missing = || Missing {
            path: path.to_owned(),
            limit,
        };
        Ok(cairn_store::files::read(path, limit)?.ok_or_else(missing)?)
    };
    files.iter().map(|path| read(path)).collect()
}

/// Looks after the files until it is dropped.
pub async fn keep_fresh(terminal: &Terminal, mut watched: Vec<Watched>, mut hangup: Signal) {
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(PAUSE) => false,
        };
        for files in &mut watched {
            files.refresh(asked, terminal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use cairn_store::files::{PUBLIC, discard, write};

    use super::*;

    #[test]
    fn files_are_taken_when_they_change_and_broken_ones_are_seen_once() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        write(&path, b"one", PUBLIC).unwrap();
        let files = vec![path.clone()];
        let seen = read_all(&files, 100).unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        let mut watched = Watched::new("file", files, 100, seen, move |bytes| {
            let text = String::from_utf8_lossy(&bytes[0]).into_owned();
            let is_broken = text == "broken";
            kept.lock().unwrap().push(text);
            if is_broken {
                return Err(Failure::new(Exit::Input, "broken"));
            }
            Ok(())
        });
        let terminal = Terminal::new(false, true, false, false);
        let mut look = |asked| {
            watched.refresh(asked, &terminal);
            std::mem::take(&mut *taken.lock().unwrap())
        };
        assert_eq!(look(false), [""; 0]);
        write(&path, b"two", PUBLIC).unwrap();
        assert_eq!(look(false), ["two"]);
        assert_eq!(look(false), [""; 0]);
        write(&path, b"broken", PUBLIC).unwrap();
        assert_eq!(look(false), ["broken"]);
        assert_eq!(look(false), [""; 0], "what is broken is complained of once");
        assert_eq!(look(true), ["broken"], "unless somebody asks");
        discard(&path).unwrap();
        assert_eq!(look(false), [""; 0]);
        write(&path, b"three", PUBLIC).unwrap();
        assert_eq!(look(false), ["three"]);
        write(&path, &[b'x'; 101], PUBLIC).unwrap();
        assert_eq!(look(true), [""; 0], "too long a file is not read");
    }
}
