//! What an archive would be, without compressing it: so a layer that somebody has already is known by its input.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use cairn_oci::{Digest, Hasher};

use crate::compress::Compression;
use crate::segment::{Buffer, SegmentSink, Segmenter};
use crate::tree::Tree;
use crate::writer::{self, LayerOptions, WriteError};

/// How many pieces of the archive may wait to be hashed.
const WAITING: usize = 4;

/// What is known of a layer once its files were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashedArchive {
    /// Of the tar archive.
    pub diff_id: Digest,
    /// Bytes of the tar archive.
    pub uncompressed_size: u64,
}

/// Archives `tree` and hashes the archive, on a thread beside the caller's. Nothing is compressed and nothing is kept: it
/// takes about the time that reading and hashing the files takes.
///
/// # Errors
///
/// [`WriteError`], as [`write_layer`](crate::write_layer) gives it.
pub fn hash_archive(tree: &Tree, options: &LayerOptions) -> Result<HashedArchive, WriteError> {
    writer::check(tree, options)?;
    std::thread::scope(|scope| {
        let (segments, waiting) = sync_channel(WAITING);
        let (recycled, free) = channel();
        let hashing = std::thread::Builder::new()
            .name("layer-hash".to_owned())
            .spawn_scoped(scope, move || {
                let mut hasher = Hasher::new();
                while let Ok(segment) = waiting.recv() {
                    let segment: Buffer = segment;
                    hasher.update(segment.filled());
                    // Nobody wants buffers any more once the last segment is read.
                    drop(recycled.send(segment));
                }
                hasher
            })
            .map_err(|source| WriteError::Output { source })?;
        let mut sink = Hashing { segments, free };
        // The borders do not show in the archive: those of gzip keep the pieces small.
        let mut segmenter = Segmenter::new(Compression::None, &mut sink);
        writer::archive(tree, options, &mut segmenter)?;
        segmenter
            .border()
            .map_err(|source| WriteError::Output { source })?;
        drop(sink);
        let hasher = hashing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(HashedArchive {
            uncompressed_size: hasher.length(),
            diff_id: hasher.finish(),
        })
    })
}

struct Hashing {
    segments: SyncSender<Buffer>,
    free: Receiver<Buffer>,
}

impl SegmentSink for Hashing {
    fn take(&mut self, segment: Buffer) -> io::Result<Buffer> {
        let sent = self.segments.send(segment);
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "hashing the archive has stopped"))?;
        Ok(self.free.try_recv().unwrap_or_default())
    }
}
