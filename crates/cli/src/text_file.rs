//! Files of text that a person writes: the spec, the lock.

use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::failure::{Exit, Failure};

/// Reads a text of at most `limit` bytes; none if there is no such file.
///
/// # Errors
///
/// When it cannot be read, is longer, or is no UTF-8.
pub fn read(path: &Path, limit: usize) -> Result<Option<String>, Failure> {
    let failed = |error: &std::io::Error| {
        let exit = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::IsADirectory | ErrorKind::NotADirectory => Exit::Input,
            // The disk, or too many open files.
            _ => Exit::Environment,
        };
        Failure::new(exit, format!("cannot read {}: {error}", path.display()))
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    if bytes.len() > limit {
        return Err(Failure::new(
            Exit::Input,
            format!("{} is longer than {limit} bytes", path.display()),
        ));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|error| not_text(path, error.as_bytes(), error.utf8_error().valid_up_to()))
}

/// Says where the first byte is that cannot be text, in characters, as findings do.
fn not_text(path: &Path, bytes: &[u8], valid: usize) -> Failure {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Failure::new(
        Exit::Input,
        format!("{}:{line}:{column} is not UTF-8 text", path.display()),
    )
    .with_hint("save the file as UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_no_text_is_named_with_its_place() {
        let failure = not_text(Path::new("cairn.toml"), b"a\n\xc3\xa4 = \"\xff", 8);
        assert!(
            failure.to_string().contains("cairn.toml:2:6 is not UTF-8 text"),
            "{failure}"
        );
    }
}
