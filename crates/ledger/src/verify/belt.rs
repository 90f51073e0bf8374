//! Packs go in as they are fetched, and come out in order, read and verified by threads of their own. So all cores are busy from the
//! first pack on: what is done is folded while the rest is verified, and the next pack is fetched meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use super::{Checked, Keys, PIECE, Recalled, check, learn, parse};
use crate::head::HeadError;

/// A pack that is to be read and verified.
pub(crate) struct Pack {
    /// The position of its first entry.
    pub(crate) start: usize,
    /// Entries that it ends with, each with its position.
    pub(crate) lines: Vec<(usize, Bytes)>,
    /// What was verified of it before.
    pub(crate) recalled: Option<Recalled>,
}

/// Entries of one pack, as many as a thread takes at a time.
struct Piece {
    number: usize,
    start: usize,
    lines: Vec<(usize, Bytes)>,
    recalled: Option<Arc<Recalled>>,
}

/// Entries that were read, and verified now or before.
pub(crate) struct Batch {
    pub(crate) checked: Vec<Checked>,
    /// Whether their signatures were verified now.
    pub(crate) is_new: bool,
}

pub(crate) type Done = Result<Batch, HeadError>;

/// The threads, and what they have done.
pub(crate) struct Belt {
    /// To the threads, and from them; none when nothing can be put in any more.
    ways: Option<Ways>,
    done: Receiver<(usize, Done)>,
    threads: Vec<JoinHandle<()>>,
    cores: usize,
    shared: Arc<Shared>,
    /// What came before its turn.
    early: BTreeMap<usize, Done>,
    sent: usize,
    taken: usize,
}

struct Ways {
    queue: Sender<Piece>,
    results: Sender<(usize, Done)>,
}

struct Shared {
    queue: Mutex<Receiver<Piece>>,
    /// Every key that an entry which was read lists.
    keys: Mutex<Arc<Keys>>,
    is_over: AtomicBool,
}

impl Belt {
    /// A belt that has a thread for each core as soon as there is enough to do.
    pub(crate) fn new() -> Self {
        let (queue, pieces) = mpsc::channel();
        let (results, done) = mpsc::channel();
        Self {
            ways: Some(Ways { queue, results }),
            done,
            threads: Vec::new(),
            cores: super::cores(),
            shared: Arc::new(Shared {
                queue: Mutex::new(pieces),
                keys: Mutex::default(),
                is_over: AtomicBool::new(false),
            }),
            early: BTreeMap::new(),
            sent: 0,
            taken: 0,
        }
    }

    /// Puts a pack behind the others.
    pub(crate) fn push(&mut self, pack: Pack) {
        let recalled = pack.recalled.map(Arc::new);
        let mut lines = pack.lines.into_iter();
        loop {
            let piece: Vec<(usize, Bytes)> = lines.by_ref().take(PIECE).collect();
            if piece.is_empty() {
                return;
            }
            let piece = Piece {
                number: self.sent,
                start: pack.start,
                lines: piece,
                recalled: recalled.clone(),
            };
            self.sent += 1;
            self.send(piece);
        }
    }

    fn send(&mut self, piece: Piece) {
        let Some(Ways { queue, results }) = &self.ways else {
            return;
        };
        if self.threads.len() < self.cores {
            let (shared, results) = (Arc::clone(&self.shared), results.clone());
            self.threads.push(thread::spawn(move || shared.work(&results)));
        }
        // It is missed in the end if a thread is gone, and so it is found out why.
        let _sent = queue.send(piece);
    }

    /// Puts entries behind the others that need not be verified, or why they cannot be read.
    pub(crate) fn pass(&mut self, known: Result<Vec<Checked>, HeadError>) {
        if let Ok(known) = &known {
            self.shared.learn(known);
        }
        let known = known.map(|checked| Batch {
            checked,
            is_new: false,
        });
        self.early.insert(self.sent, known);
        self.sent += 1;
    }

    /// The next entries, if they are done.
    pub(crate) fn ready(&mut self) -> Option<Done> {
        while let Ok((number, done)) = self.done.try_recv() {
            self.early.insert(number, done);
        }
        self.take()
    }

    /// The next entries; none if there are no more. Nothing can be put in from here on.
    pub(crate) fn next(&mut self) -> Option<Done> {
        self.ways = None;
        while self.taken < self.sent {
            if let Some(done) = self.take() {
                return Some(done);
            }
            match self.done.recv() {
                Ok((number, done)) => {
                    self.early.insert(number, done);
                }
                Err(mpsc::RecvError) => break,
            }
        }
        self.end();
        None
    }

    /// Every key that an entry lists of those that came out.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.shared.keys()
    }

    fn take(&mut self) -> Option<Done> {
        let done = self.early.remove(&self.taken)?;
        self.taken += 1;
        Some(done)
    }

    /// Waits for the threads, which have nothing to do any more.
    fn end(&mut self) {
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Belt {
    /// Whoever does not want the rest need not wait for it.
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.ways = None;
    }
}

impl Shared {
    fn work(&self, results: &Sender<(usize, Done)>) {
        loop {
            let piece = self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(piece) = piece else { return };
            if self.is_over.load(Ordering::Relaxed)
                || results.send((piece.number, self.check(piece))).is_err()
            {
                return;
            }
        }
    }

    fn check(&self, piece: Piece) -> Done {
        let first = piece.lines.first().map_or(0, |(at, _)| at - piece.start);
        let mut parsed = parse(&piece.lines)?;
        if parsed.iter().any(|one| one.entry.authority.is_some()) {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let all = Arc::make_mut(&mut keys);
            parsed.iter().for_each(|one| learn(all, &one.entry));
        }
        if let Some(recalled) = piece.recalled {
            match recalled.apply(first, parsed) {
                Ok(checked) => {
                    return Ok(Batch {
                        checked,
                        is_new: false,
                    });
                }
                Err(again) => parsed = again,
            }
        }
        Ok(Batch {
            checked: check(parsed, &self.keys()),
            is_new: true,
        })
    }

    fn learn(&self, known: &[Checked]) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for one in known.iter().filter(|one| one.record.entry.authority.is_some()) {
            learn(Arc::make_mut(&mut keys), &one.record.entry);
        }
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
