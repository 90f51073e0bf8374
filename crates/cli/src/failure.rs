//! How a command fails: what is said, and with which exit code.

use std::error::Error;
use std::fmt;

/// Exit codes (design, "Command line").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// The input is wrong: spec, lock, file, key, unknown version.
    Input = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The environment failed: network, registry, authentication, disk, permission, port.
    Environment = 3,
    /// Something does not match.
    Integrity = 4,
    /// A check that applies could not be made.
    Inconclusive = 5,
    /// Somebody else moved it, a hold, a rule, or a version bound to another digest.
    Conflict = 6,
    /// A bug in Cairn.
    Bug = 70,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

/// What the HTTP library says between our own words and the operating system's, and what nobody learns from.
const NOISE: [&str; 5] = [
    "error sending request",
    "client error (Connect)",
    "tcp connect error",
    "dns error",
    "error resolving DNS",
];

/// Why a command ended without doing what was asked.
#[derive(Debug, Clone)]
pub struct Failure {
    exit: Exit,
    errors: Vec<Message>,
    summary: Option<String>,
}

/// One error as it is shown.
#[derive(Debug, Clone)]
struct Message {
    /// Rendered already, with place and caret; then it is printed as it is.
    rendered: Option<String>,
    text: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure in one sentence.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        let message = Message {
            rendered: None,
            text: text.into(),
            causes: Vec::new(),
            hint: None,
        };
        Self {
            exit,
            errors: vec![message],
            summary: None,
        }
    }

    /// An error with its chain of causes.
    pub fn of(exit: Exit, error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // `#[error(transparent)]` layers repeat the text of what they wrap.
            if causes.last() != Some(&text) && !NOISE.contains(&text.as_str()) {
                causes.push(text);
            }
            next = cause.source();
        }
        let message = Message {
            rendered: None,
            text: error.to_string(),
            causes,
            hint: None,
        };
        Self {
            exit,
            errors: vec![message],
            summary: None,
        }
    }

    /// Errors with places in a file, rendered and escaped already, and how they end: "2 errors; nothing was built".
    pub fn rendered(exit: Exit, rendered: Vec<String>, summary: impl Into<String>) -> Self {
        let message = |text: String| Message {
            rendered: Some(text),
            text: String::new(),
            causes: Vec::new(),
            hint: None,
        };
        Self {
            exit,
            errors: rendered.into_iter().map(message).collect(),
            summary: Some(summary.into()),
        }
    }

    /// The same, with more that is wrong, each in one sentence.
    #[must_use]
    pub fn and(mut self, texts: impl IntoIterator<Item = String>) -> Self {
        let message = |text| Message {
            rendered: None,
            text,
            causes: Vec::new(),
            hint: None,
        };
        self.errors.extend(texts.into_iter().map(message));
        self
    }

    /// A failure that has been reported already, such as a finding in a report.
    #[must_use]
    pub const fn silent(exit: Exit) -> Self {
        Self {
            exit,
            errors: Vec::new(),
            summary: None,
        }
    }

    /// The same, saying what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Option<String>>) -> Self {
        if let (Some(last), Some(hint)) = (self.errors.last_mut(), hint.into()) {
            last.hint = Some(hint);
        }
        self
    }

    /// The same with other hints.
    #[must_use]
    pub fn map_hints(mut self, change: impl Fn(String) -> String) -> Self {
        for error in &mut self.errors {
            error.hint = error.hint.take().map(&change);
        }
        self
    }

    /// Everything that went wrong on one line, for a message about something else.
    #[must_use]
    pub fn to_line(&self) -> String {
        let line = |message: &Message| {
            let causes = message.causes.iter().map(|cause| format!(": {cause}"));
            std::iter::once(message.text.clone())
                .chain(causes)
                .collect::<String>()
        };
        self.errors.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    /// All lines for stderr, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::escape::escape;
        for error in &self.errors {
            match &error.rendered {
                Some(rendered) => writeln!(f, "{}", rendered.trim_end())?,
                None => writeln!(f, "error: {}", escape(&error.text))?,
            }
            for cause in &error.causes {
                writeln!(f, "  because: {}", escape(cause))?;
            }
            if let Some(hint) = &error.hint {
                writeln!(f, "hint: {}", escape(hint))?;
            }
        }
        match &self.summary {
            Some(summary) => writeln!(f, "{}", escape(summary)),
            None => Ok(()),
        }
    }
}

/// Which side an error is on, and what to do about it. Beside each kind of error, in [`crate::classify`].
pub trait Classify: Error {
    /// The exit code.
    fn exit(&self) -> Exit;

    /// What to do.
    fn hint(&self) -> Option<String> {
        None
    }
}

impl<E: Classify> From<E> for Failure {
    fn from(error: E) -> Self {
        let hint = error.hint();
        Self::of(error.exit(), &error).with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read cairn.toml")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_and_hint_follow_the_error_and_are_escaped() {
        let inner = std::io::Error::other("bad \x1b[2J name");
        let failure = Failure::of(Exit::Input, &Outer(inner)).with_hint("cairn init".to_owned());
        assert_eq!(
            failure.to_string(),
            "error: cannot read cairn.toml\n  because: bad \\x1b[2J name\nhint: cairn init\n"
        );
    }
}
