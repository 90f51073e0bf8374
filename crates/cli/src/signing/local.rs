//! Keys in a variable or in a file.

use std::path::Path;

use cairn_ledger::LocalKey;

use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// Longest file of a key, in bytes.
const LIMIT: u64 = 64 << 10;

/// Reads a private key; `origin` says where the text is from.
pub(super) fn parse(text: &str, origin: &str) -> Result<LocalKey, Failure> {
    LocalKey::from_pem(text).map_err(|error| {
        // The text is a secret: what is wrong with it is said, and never what it is.
        Failure::new(Exit::Input, format!("{origin} holds no usable key: {error}")).with_hint(error.hint())
    })
}

/// The text of a file; none if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, Failure> {
    use std::io::Read;
    let failed =
        |error: std::io::Error| Failure::new(Exit::Input, format!("cannot read {}: {error}", path.display()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Warns of a private key that others can read.
pub(super) fn warn_if_readable(cairn: &Cairn, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        cairn
            .terminal
            .warn(format!("{path} can be read by others; chmod 600 {path}"));
    }
}
