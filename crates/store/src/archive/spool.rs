//! Archives that were compressed as a whole: `docker save IMAGE | gzip`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::damaged;
use crate::error::RepositoryError;
use crate::files::{self, FileError};

/// How many bytes may come out for each that goes in, beyond [`ALLOWANCE`].
const RATIO: u64 = 200;
/// Bytes that may come out whatever went in.
const ALLOWANCE: u64 = 256 << 20;
/// The first two bytes of what gzip writes (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The file itself, or what comes out of it if gzip made it.
pub(super) fn decompressed(file: File, path: &Path, scratch: &Path) -> Result<File, RepositoryError> {
    let mut first = [0; 2];
    let read_error = FileError::on("read", path);
    let compressed = match file.read_exact_at(&mut first, 0) {
        Ok(()) => first == GZIP,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(read_error(error).into()),
    };
    if !compressed {
        return Ok(file);
    }
    let size = file.metadata().map_err(&read_error)?.len();
    let limit = size.saturating_mul(RATIO).saturating_add(ALLOWANCE);
    let mut content = MultiGzDecoder::new(BufReader::new(file));
    let mut copy = files::temporary(scratch)?;
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(path, format!("it cannot be decompressed: {error}"))),
        };
        total += count as u64;
        if total > limit {
            return Err(damaged(
                path,
                format!("decompressed it has more than {limit} bytes"),
            ));
        }
        copy.append(&buffer[..count])?;
    }
    let opened = File::open(copy.path()).map_err(FileError::on("open", copy.path()))?;
    // Dropped, the copy loses its name, and lives on while it is open.
    drop(copy);
    Ok(opened)
}
