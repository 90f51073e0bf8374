//! The ignore file beside the spec.

use std::sync::Arc;

use cairn_layer::{Context, IgnoreError, IgnoreRules, LocalError, LocalFile, LocalKind};

use crate::document::chain;
use crate::finding::Finding;

/// Its name, in the directory of the spec.
pub(super) const NAME: &str = ".cairnignore";
/// The longest that is read, in bytes (64 KiB).
const LIMIT: u64 = 64 << 10;

/// The rules of the ignore file; none of them if there is none.
///
/// It is never skipped in silence (moby#42108): what cannot be honoured is a finding.
pub(super) fn read(context: &Context) -> Result<Arc<IgnoreRules>, Finding> {
    let wrong = |what: String| Finding::new(format!("{NAME}: {what}"), 0..0).about_file(NAME);
    let file = match context.kind(NAME) {
        Ok(LocalKind::File { file, .. }) => file,
        Ok(LocalKind::Symlink { .. }) | Err(LocalError::Escapes { .. }) => {
            let finding = wrong("it is a symbolic link, and is not followed".to_owned());
            return Err(finding.with_hint("put the file itself beside the spec"));
        }
        Ok(LocalKind::Directory) => return Err(wrong("it is a directory".to_owned())),
        Err(LocalError::Missing { .. }) => return Ok(Arc::default()),
        Err(error) => return Err(wrong(chain(&error))),
    };
    if file.size() > LIMIT {
        return Err(wrong(format!("it has {} bytes, more than {LIMIT}", file.size())));
    }
    let bytes = read_up_to(&file, LIMIT).map_err(|error| wrong(chain(&error)))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let shown = String::from_utf8_lossy(&bytes);
        wrong(format!("line {line} is not UTF-8")).about_line(NAME, &shown, line)
    })?;
    let rules = IgnoreRules::parse(text).map_err(|error| {
        let finding = wrong(chain(&error));
        match error {
            IgnoreError::Line { line, .. } => finding.about_line(NAME, text, line),
            IgnoreError::All { .. } => finding,
        }
    })?;
    Ok(Arc::new(rules))
}

/// The first `limit` bytes of a file of the context, or all that it has.
pub(super) fn read_up_to(file: &LocalFile, limit: u64) -> Result<Vec<u8>, LocalError> {
    let mut reader = file.open()?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    while (bytes.len() as u64) < limit {
        match reader.read(&mut buffer)? {
            0 => break,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(bytes)
}
