//! Findings: what does not match, with the words that `--json` shows.

use std::fmt;

use serde::Serialize;

/// Something that does not match. It is reported, never believed, never deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// A short word that does not change: `head-refused`, `tag-differs`, …
    pub code: &'static str,
    /// What it is about: an entry by its position, a tag, a digest.
    pub subject: String,
    /// One sentence. It may contain text of others: escape it before a terminal sees it.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(code: &'static str, subject: &dyn fmt::Display, message: impl Into<String>) -> Self {
        Self {
            code,
            subject: subject.to_string(),
            message: message.into(),
        }
    }
}

/// An error and its causes in one line, for a finding.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
