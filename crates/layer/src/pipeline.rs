//! Hashing, compressing and writing segments, at once on several threads.
//!
//! ```text
//! the caller's thread          threads of ours
//!
//! archive ─► segments ─┬─► hash of the archive
//!                      ├─► N × compress, or ask the cache
//!                      └─► in order: hash of the layer, write
//! ```
//!
//! All queues are bounded, so that memory is threads × segment, whatever the layer's size. A layer of one segment starts
//! no thread. Whoever fails drops its end of a queue; its neighbours then stop, and what it says is the error.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use cairn_oci::{Digest, Hasher};

use crate::cache::{SegmentCache, SegmentKey};
use crate::compress::{Compression, Compressor, WrittenLayer};
use crate::segment::{Buffer, SegmentSink, Segmenter};

/// Segments shorter than this are compressed faster than a cache answers.
const LEAST_CACHED: usize = 16 << 10;
/// More threads than this have nothing to do: the archive cannot be read fast enough.
const MOST_THREADS: usize = 256;

/// How layers are written: with how many threads, and with which cache. The bytes never depend on it.
#[derive(Debug, Clone)]
pub struct Engine {
    /// How many threads compress. With one, everything happens on the caller's thread. A few more threads read,
    /// hash and write beside them.
    pub threads: NonZeroUsize,
    /// Where compressed segments are kept.
    pub cache: Option<Arc<dyn SegmentCache>>,
}

/// One thread and no cache.
impl Default for Engine {
    fn default() -> Self {
        Self {
            threads: NonZeroUsize::MIN,
            cache: None,
        }
    }
}

/// What came out.
pub(crate) struct Totals {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) diff_id: Digest,
    pub(crate) uncompressed_size: u64,
}

impl Totals {
    pub(crate) const fn layer(self, entries: u64) -> WrittenLayer {
        WrittenLayer {
            digest: self.digest,
            size: self.size,
            diff_id: self.diff_id,
            uncompressed_size: self.uncompressed_size,
            entries,
        }
    }
}

impl Engine {
    /// Compresses what `feed` gives and writes it to `out`. An error of the output goes before one of `feed`, which then
    /// only saw that nobody takes its bytes any more.
    pub(crate) fn run<T, E>(
        &self,
        compression: Compression,
        out: &mut (dyn Write + Send),
        failed: fn(io::Error) -> E,
        feed: impl FnOnce(&mut Segmenter<'_>) -> Result<T, E>,
    ) -> Result<(T, Totals), E> {
        let stopped = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut pipeline = Pipeline {
                scope,
                stopped: &stopped,
                compression,
                threads: self.threads.get().min(MOST_THREADS),
                cache: self.cache.as_deref(),
                state: State::Waiting { out, first: None },
            };
            let mut segmenter = Segmenter::new(compression, &mut pipeline);
            let fed = feed(&mut segmenter).and_then(|value| match segmenter.border() {
                Ok(()) => Ok(value),
                Err(error) => Err(failed(error)),
            });
            if fed.is_err() {
                stopped.store(true, Ordering::Relaxed);
            }
            let totals = pipeline.finish();
            match (fed, totals) {
                (_, Err(error)) => Err(failed(error)),
                (Err(error), _) => Err(error),
                (Ok(value), Ok(Some(totals))) => Ok((value, totals)),
                (Ok(_), Ok(None)) => Err(failed(gone())),
            }
        })
    }
}

struct Pipeline<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    /// Set once nobody needs the result any more.
    stopped: &'env AtomicBool,
    compression: Compression,
    threads: usize,
    cache: Option<&'env dyn SegmentCache>,
    state: State<'scope, 'env>,
}

enum State<'scope, 'env> {
    /// Whether threads are worth it is known with the second segment.
    Waiting {
        out: &'env mut (dyn Write + Send),
        first: Option<Buffer>,
    },
    /// Everything on the caller's thread.
    Alone(Box<Alone<'env>>),
    Threads(Threads<'scope>),
    /// Only while one state becomes another.
    Nothing,
}

impl Pipeline<'_, '_> {
    /// None if it broke off before: whoever gave the segments knows why.
    fn finish(mut self) -> io::Result<Option<Totals>> {
        match std::mem::replace(&mut self.state, State::Nothing) {
            State::Waiting { .. } if self.stopped.load(Ordering::Relaxed) => Ok(None),
            State::Waiting { out, first } => {
                let mut alone = Alone::new(self.compression, self.cache, out)?;
                if let Some(first) = first {
                    alone.take(first)?;
                }
                alone.finish().map(Some)
            }
            State::Alone(alone) => alone.finish().map(Some),
            State::Threads(threads) => threads.finish().map(Some),
            State::Nothing => Ok(None),
        }
    }
}

impl SegmentSink for Pipeline<'_, '_> {
    fn take(&mut self, segment: Buffer) -> io::Result<Buffer> {
        match &mut self.state {
            State::Alone(alone) => return alone.take(segment),
            State::Threads(threads) => return threads.take(segment),
            State::Waiting { first, .. } if first.is_none() && self.threads > 1 => {
                *first = Some(segment);
                return Ok(Buffer::default());
            }
            State::Waiting { .. } | State::Nothing => {}
        }
        let State::Waiting { out, first } = std::mem::replace(&mut self.state, State::Nothing) else {
            return Err(gone());
        };
        let Some(first) = first else {
            let mut alone = Alone::new(self.compression, self.cache, out)?;
            let buffer = alone.take(segment)?;
            self.state = State::Alone(Box::new(alone));
            return Ok(buffer);
        };
        let mut threads = Threads::start(self, out)?;
        let taken = threads.take(first).and_then(|_| threads.take(segment));
        // Also if they stopped already: `finish` asks them why.
        self.state = State::Threads(threads);
        taken
    }
}

/// Somebody on the other side has stopped, and says why itself.
fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "writing the layer has stopped")
}

/// Compresses one segment, or finds it.
struct Packer<'a> {
    compression: Compression,
    compressor: Compressor,
    cache: Option<&'a dyn SegmentCache>,
}

impl<'a> Packer<'a> {
    fn new(compression: Compression, cache: Option<&'a dyn SegmentCache>) -> io::Result<Self> {
        Ok(Self {
            compression,
            compressor: Compressor::new(compression)?,
            cache,
        })
    }

    fn pack(&mut self, segment: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
        let cache = self.cache.filter(|_| segment.len() >= LEAST_CACHED);
        let kept = cache.and_then(|cache| Some((cache, SegmentKey::of(self.compression, segment)?)));
        packed.clear();
        if let Some((cache, key)) = &kept
            && cache.get(key, packed)
        {
            return Ok(());
        }
        self.compressor.compress(segment, packed)?;
        if let Some((cache, key)) = &kept {
            cache.put(key, packed);
        }
        Ok(())
    }
}

/// The end of the line: hashes and writes compressed segments in their order.
struct Output<'a> {
    out: &'a mut (dyn Write + Send),
    hasher: Hasher,
}

impl Output<'_> {
    fn write(&mut self, packed: &[u8]) -> io::Result<()> {
        self.out.write_all(packed)?;
        self.hasher.update(packed);
        Ok(())
    }

    fn finish(self) -> io::Result<Hasher> {
        self.out.flush()?;
        Ok(self.hasher)
    }
}

fn totals(archive: Hasher, layer: Hasher) -> Totals {
    Totals {
        uncompressed_size: archive.length(),
        diff_id: archive.finish(),
        size: layer.length(),
        digest: layer.finish(),
    }
}

/// Everything on one thread.
struct Alone<'a> {
    archive: Hasher,
    packer: Packer<'a>,
    packed: Vec<u8>,
    output: Output<'a>,
}

impl<'a> Alone<'a> {
    fn new(
        compression: Compression,
        cache: Option<&'a dyn SegmentCache>,
        out: &'a mut (dyn Write + Send),
    ) -> io::Result<Self> {
        Ok(Self {
            archive: Hasher::new(),
            packer: Packer::new(compression, cache)?,
            packed: Vec::new(),
            output: Output {
                out,
                hasher: Hasher::new(),
            },
        })
    }

    fn take(&mut self, segment: Buffer) -> io::Result<Buffer> {
        self.archive.update(segment.filled());
        self.packer.pack(segment.filled(), &mut self.packed)?;
        self.output.write(&self.packed)?;
        Ok(segment)
    }

    fn finish(self) -> io::Result<Totals> {
        Ok(totals(self.archive, self.output.finish()?))
    }
}

/// A segment for whoever compresses next.
struct Job {
    segment: Arc<Buffer>,
    packed: SyncSender<io::Result<Vec<u8>>>,
}

/// The caller's end of all threads.
struct Threads<'scope> {
    jobs: SyncSender<Job>,
    archive: SyncSender<Arc<Buffer>>,
    /// The compressed segments to come, in their order.
    order: SyncSender<Receiver<io::Result<Vec<u8>>>>,
    free: Receiver<Buffer>,
    hasher: ScopedJoinHandle<'scope, Hasher>,
    writer: ScopedJoinHandle<'scope, io::Result<Hasher>>,
}

impl<'scope> Threads<'scope> {
    fn start<'env>(pipeline: &Pipeline<'scope, 'env>, out: &'env mut (dyn Write + Send)) -> io::Result<Self> {
        let (scope, stopped) = (pipeline.scope, pipeline.stopped);
        let waiting = 2 * pipeline.threads + 2;
        let (free_sender, free) = channel();
        let (archive, segments) = sync_channel(waiting);
        let recycle = free_sender.clone();
        let hasher = spawn(scope, "hash", move || hash(&segments, &recycle))?;
        let (order, ordered) = sync_channel(waiting);
        let spare = Arc::new(Mutex::new(Vec::new()));
        let output = Output {
            out,
            hasher: Hasher::new(),
        };
        let pool = Arc::clone(&spare);
        let writer = spawn(scope, "write", move || write(output, &ordered, &pool))?;
        let (jobs, queue) = sync_channel(waiting);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..pipeline.threads {
            let mut packer = Packer::new(pipeline.compression, pipeline.cache)?;
            let (queue, spare, recycle) = (Arc::clone(&queue), Arc::clone(&spare), free_sender.clone());
            spawn(scope, "compress", move || {
                while let Some(job) = next(&queue) {
                    compress(job, &mut packer, stopped, &spare, &recycle);
                }
            })?;
        }
        Ok(Self {
            jobs,
            archive,
            order,
            free,
            hasher,
            writer,
        })
    }

    fn take(&mut self, segment: Buffer) -> io::Result<Buffer> {
        let segment = Arc::new(segment);
        let (packed, result) = sync_channel(1);
        // The writer's queue is the one that fills up when the others are ahead, so it comes first.
        self.order.send(result).map_err(|_| gone())?;
        self.archive.send(Arc::clone(&segment)).map_err(|_| gone())?;
        self.jobs.send(Job { segment, packed }).map_err(|_| gone())?;
        Ok(self.free.try_recv().unwrap_or_default())
    }

    fn finish(self) -> io::Result<Totals> {
        drop((self.jobs, self.archive, self.order));
        let layer = joined(self.writer)?;
        Ok(totals(joined(self.hasher), layer))
    }
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    std::thread::Builder::new()
        .name(format!("layer-{name}"))
        .spawn_scoped(scope, work)
}

/// A panic goes on where its thread is waited for.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// The last of the threads that have a segment gives its buffer back.
fn give_back(segment: Arc<Buffer>, free: &Sender<Buffer>) {
    if let Some(buffer) = Arc::into_inner(segment) {
        // Nobody wants buffers any more once the last segment is read.
        drop(free.send(buffer));
    }
}

fn hash(segments: &Receiver<Arc<Buffer>>, free: &Sender<Buffer>) -> Hasher {
    let mut hasher = Hasher::new();
    while let Ok(segment) = segments.recv() {
        hasher.update(segment.filled());
        give_back(segment, free);
    }
    hasher
}

fn compress(
    job: Job,
    packer: &mut Packer<'_>,
    stopped: &AtomicBool,
    spare: &Mutex<Vec<Vec<u8>>>,
    free: &Sender<Buffer>,
) {
    if stopped.load(Ordering::Relaxed) {
        return;
    }
    let mut packed = take_spare(spare);
    let result = packer.pack(job.segment.filled(), &mut packed);
    give_back(job.segment, free);
    // A writer that has failed no longer listens.
    drop(job.packed.send(result.map(|()| packed)));
}

fn take_spare(spare: &Mutex<Vec<Vec<u8>>>) -> Vec<u8> {
    let mut spare = spare.lock().unwrap_or_else(PoisonError::into_inner);
    spare.pop().unwrap_or_default()
}

fn write(
    mut output: Output<'_>,
    ordered: &Receiver<Receiver<io::Result<Vec<u8>>>>,
    spare: &Mutex<Vec<Vec<u8>>>,
) -> io::Result<Hasher> {
    while let Ok(next) = ordered.recv() {
        // Nothing comes if the reader has failed: then nobody compresses any more, and the reader says why.
        let Ok(packed) = next.recv() else { break };
        let packed = packed?;
        output.write(&packed)?;
        spare.lock().unwrap_or_else(PoisonError::into_inner).push(packed);
    }
    output.finish()
}
