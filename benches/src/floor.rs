//! What a machine can do at best: looking at every file, and compressing, on all cores.
//!
//! They run as processes of their own (`cairn-benches stat DIRECTORY`, `cairn-benches compress FILE`), so that they are
//! measured as everything else is.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cairn_layer::{Compression, Engine, Limits};

use crate::Result;

/// Asks the file system for the metadata of everything below `directory`, with one thread for each core.
pub fn stat(directory: &Path) -> Result<()> {
    let waiting = Mutex::new(vec![directory.to_owned()]);
    let busy = AtomicUsize::new(1);
    let next = || waiting.lock().map(|mut waiting| waiting.pop()).ok().flatten();
    thread::scope(|scope| {
        for _ in 0..cores().get() {
            scope.spawn(|| {
                while busy.load(Ordering::SeqCst) > 0 {
                    let Some(directory) = next() else {
                        thread::yield_now();
                        continue;
                    };
                    let below = look(&directory);
                    busy.fetch_add(below.len(), Ordering::SeqCst);
                    if let Ok(mut waiting) = waiting.lock() {
                        waiting.extend(below);
                    }
                    busy.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    Ok(())
}

/// The directories in `directory`, after a look at everything in it.
fn look(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| {
        // Reached through the directory's descriptor, without following links.
        entry.metadata().is_ok_and(|metadata| metadata.is_dir())
    });
    directories.map(|entry| entry.path()).collect()
}

/// Compresses a tar archive as Cairn does, hashes both forms, and keeps nothing.
pub fn compress(archive: &Path) -> Result<()> {
    let file = File::open(archive).map_err(|error| format!("cannot open {}: {error}", archive.display()))?;
    let engine = Engine {
        threads: cores(),
        cache: None,
    };
    let reader = BufReader::with_capacity(1 << 20, file);
    let written = engine.recompress(reader, &Limits::default(), Compression::Gzip, &mut io::sink());
    let written = written.map_err(|error| format!("cannot compress {}: {error}", archive.display()))?;
    println!("{} {}", written.digest, written.size);
    Ok(())
}

fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
