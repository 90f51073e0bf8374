//! What is wrong with a text that a person wrote, and where.
//!
//! Findings are data. Whoever shows them adds the file's name, the line and the caret; nothing here knows about
//! terminals.

use std::ops::Range;

/// One thing that is wrong with a spec or a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where: bytes of the text. Always within the text and on character boundaries of it; empty where something is
    /// missing.
    pub span: Range<usize>,
    /// What to write below the place, such as the nearest known key.
    pub label: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The text that it is about, if it is another than the one that was read: `span` is a place in it then.
    pub elsewhere: Option<Elsewhere>,
}

/// Another file that takes part, such as the ignore file beside a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Its name.
    pub file: String,
    /// Its text; none if it is about the file as a whole.
    pub text: Option<String>,
}

impl Finding {
    /// A finding without label and hint.
    pub fn new(message: impl Into<String>, span: Range<usize>) -> Self {
        Self {
            message: message.into(),
            span,
            label: None,
            hint: None,
            elsewhere: None,
        }
    }

    /// The same, about a file as a whole that is not the one that was read.
    #[must_use]
    pub fn about_file(self, file: impl Into<String>) -> Self {
        Self {
            span: 0..0,
            elsewhere: Some(Elsewhere {
                file: file.into(),
                text: None,
            }),
            ..self
        }
    }

    /// The same, about line `line` (from 1) of `text`, which is that of the other file `file`.
    #[must_use]
    pub fn about_line(self, file: impl Into<String>, text: &str, line: usize) -> Self {
        let mut lines = text.split_inclusive('\n');
        let start = lines.by_ref().take(line.saturating_sub(1)).map(str::len).sum();
        let length = lines.next().map_or(0, |line| line.trim_end().len());
        Self {
            span: start..start + length,
            elsewhere: Some(Elsewhere {
                file: file.into(),
                text: Some(text.to_owned()),
            }),
            ..self
        }
    }

    /// The same with a text below the place.
    #[must_use]
    pub fn with_label(self, label: impl Into<String>) -> Self {
        Self {
            label: Some(label.into()),
            ..self
        }
    }

    /// The same with what to do.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Line and column of the beginning in `text`, both from 1. Columns count characters.
    #[must_use]
    pub fn line_column(&self, text: &str) -> (usize, usize) {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

/// A value and where it stands in the text.
///
/// Two are equal when their values are: where something stands does not change what it means.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands: bytes of the text.
    pub span: Range<usize>,
}

impl<T> Located<T> {
    /// `value` at `span`.
    pub const fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }

    /// A value that stands in no text yet.
    pub const fn nowhere(value: T) -> Self {
        Self { value, span: 0..0 }
    }

    /// Another value at the same place.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Located<U> {
        Located::new(map(self.value), self.span)
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}
