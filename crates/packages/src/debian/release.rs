//! The signed part of an archive: `InRelease`, which says what its indexes are (repository format of Debian, "Release files").

use std::collections::{BTreeMap, BTreeSet};

use cairn_oci::Digest;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::source::Source;
use super::text;
use crate::control::paragraphs;

/// What a signed file of an archive says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Such as `stable`.
    pub suite: Option<String>,
    /// Such as `bookworm`.
    pub codename: Option<String>,
    /// When it was made.
    pub date: Timestamp,
    /// Until when it counts; none: for ever.
    pub valid_until: Option<Timestamp>,
    /// The components it has, such as `main`.
    pub components: BTreeSet<String>,
    /// The architectures it has packages for.
    pub architectures: BTreeSet<String>,
    /// Whether its indexes can be had by their hash, so that no change of the archive comes in between.
    pub by_hash: bool,
    /// Whether packages for all architectures have indexes of their own.
    pub all_apart: bool,
    /// Its indexes: path below the suite's directory, SHA-256, size in bytes.
    pub files: BTreeMap<String, (Digest, u64)>,
}

/// What is wrong with a file whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// It is no paragraph of fields.
    #[error("line {line} is not a field")]
    Line {
        /// Which line of the signed text, from 1.
        line: usize,
    },
    /// A field is missing.
    #[error("it has no {field}")]
    Missing {
        /// Which field.
        field: &'static str,
    },
    /// A field cannot be read.
    #[error("its {field} cannot be read: `{value}`")]
    Field {
        /// Which field.
        field: &'static str,
        /// What stands there, escaped.
        value: String,
    },
    /// It has only hashes that can be forged.
    #[error("it has no SHA-256 of its indexes, only hashes that can be forged")]
    WeakHashes,
    /// It is about another suite.
    #[error("it is about {found}, not about `{wanted}`")]
    OtherSuite {
        /// What was asked for.
        wanted: String,
        /// What it says that it is.
        found: String,
    },
    /// It does not have a component.
    #[error("it has no component `{wanted}`; it has {}", listed(found))]
    Component {
        /// What was asked for.
        wanted: String,
        /// What it has.
        found: BTreeSet<String>,
    },
    /// It does not have an architecture.
    #[error("it has no packages for `{wanted}`; it has {}", listed(found))]
    Architecture {
        /// What was asked for.
        wanted: String,
        /// What it has.
        found: BTreeSet<String>,
    },
    /// It counts no more.
    #[error("it expired at {until}")]
    Expired {
        /// When.
        until: Timestamp,
    },
    /// It comes from the future.
    #[error("it is dated {date}, which is in the future")]
    Future {
        /// Its date.
        date: Timestamp,
    },
    /// A newer one was seen before.
    #[error(
        "it is of {date}, but one of {seen} was seen before: the mirror is behind, or somebody shows an old state"
    )]
    Older {
        /// Its date.
        date: Timestamp,
        /// The date of the one seen before.
        seen: Timestamp,
    },
    /// An index that a source needs is not there.
    #[error("it names no index `{path}`")]
    NoIndex {
        /// Its path below the suite's directory, without the ending of a compression.
        path: String,
    },
}

fn listed(words: &BTreeSet<String>) -> String {
    let words: Vec<_> = words.iter().map(|word| word.escape_debug().to_string()).collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

/// By when and against what a [`Release`] is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The time: now, or that of a snapshot, which is old on purpose.
    pub at: Timestamp,
    /// The date of the newest one that was seen of this suite: an older one is refused. None for a snapshot.
    pub seen: Option<Timestamp>,
}

/// How far clocks of archives may be ahead of ours, in seconds: a day.
const AHEAD: i64 = 24 * 60 * 60;

impl Release {
    /// Reads the signed text.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`] if it is none.
    pub fn read(signed: &str) -> Result<Self, ReleaseError> {
        let wanted = [
            "Suite",
            "Codename",
            "Date",
            "Valid-Until",
            "Components",
            "Architectures",
            "Acquire-By-Hash",
            "No-Support-for-Architecture-all",
            "SHA256",
        ];
        let paragraphs =
            paragraphs(signed.as_bytes(), wanted).map_err(|(line, _)| ReleaseError::Line { line })?;
        let [paragraph] = &paragraphs[..] else {
            let line = paragraphs.get(1).map_or(1, |second| second.line);
            return Err(ReleaseError::Line { line });
        };
        let [
            suite,
            codename,
            date,
            until,
            components,
            architectures,
            by_hash,
            no_all,
            files,
        ] = paragraph.fields.map(|field| field.map(text::lossy));
        let words = |field: Option<String>| -> BTreeSet<String> {
            let field = field.unwrap_or_default();
            field.split_ascii_whitespace().map(str::to_owned).collect()
        };
        let architectures = words(architectures);
        Ok(Self {
            suite,
            codename,
            date: time("Date", &date.ok_or(ReleaseError::Missing { field: "Date" })?)?,
            valid_until: until.map(|until| time("Valid-Until", &until)).transpose()?,
            components: words(components),
            by_hash: by_hash.is_some_and(|value| value == "yes"),
            all_apart: architectures.contains("all") && no_all.is_none_or(|what| what != "Packages"),
            architectures,
            files: read_files(&files.ok_or(ReleaseError::WeakHashes)?)?,
        })
    }

    /// Checks that it is what was asked for, and in its time. `architectures` are those of packages.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`].
    pub fn check(
        &self,
        source: &Source,
        architectures: &[String],
        clock: &Clock,
    ) -> Result<(), ReleaseError> {
        if !source.suite.ends_with('/') {
            self.check_names(source)?;
            for wanted in architectures {
                if !self.architectures.contains(wanted) {
                    let (wanted, found) = (wanted.clone(), self.architectures.clone());
                    return Err(ReleaseError::Architecture { wanted, found });
                }
            }
        }
        if let Some(until) = self.valid_until.filter(|until| *until < clock.at) {
            return Err(ReleaseError::Expired { until });
        }
        let date = self.date;
        if date.as_second() > clock.at.as_second().saturating_add(AHEAD) {
            return Err(ReleaseError::Future { date });
        }
        match clock.seen {
            Some(seen) if date < seen => Err(ReleaseError::Older { date, seen }),
            _ => Ok(()),
        }
    }

    fn check_names(&self, source: &Source) -> Result<(), ReleaseError> {
        let names = [&self.suite, &self.codename].map(|name| name.as_deref().unwrap_or_default());
        // Old archives of updates call themselves `stable`, and are asked for as `stable/updates`.
        let asked = source.suite.strip_suffix("/updates").unwrap_or(&source.suite);
        if !names.iter().any(|name| *name == source.suite || *name == asked) {
            let names = names.map(|name| format!("`{}`", name.escape_debug()));
            return Err(ReleaseError::OtherSuite {
                wanted: source.suite.clone(),
                found: names.join(" and "),
            });
        }
        for wanted in &source.components {
            let has = |own: &String| own == wanted || own.rsplit('/').next() == Some(wanted);
            if !self.components.iter().any(has) {
                let (wanted, found) = (wanted.clone(), self.components.clone());
                return Err(ReleaseError::Component { wanted, found });
            }
        }
        Ok(())
    }
}

fn time(field: &'static str, value: &str) -> Result<Timestamp, ReleaseError> {
    // Archives write `UTC`, which RFC 2822 does not know.
    let text = value.strip_suffix("UTC").map(|rest| format!("{rest}GMT"));
    let parsed = rfc2822::DateTimeParser::new().parse_timestamp(text.as_deref().unwrap_or(value));
    parsed.map_err(|_| ReleaseError::Field {
        field,
        value: value.escape_debug().to_string(),
    })
}

fn read_files(field: &str) -> Result<BTreeMap<String, (Digest, u64)>, ReleaseError> {
    let mut files = BTreeMap::new();
    for line in field.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let bad = || ReleaseError::Field {
            field: "SHA256",
            value: line.escape_debug().to_string(),
        };
        let [hash, size, path] = words[..] else {
            return Err(bad());
        };
        let digest = Digest::from_hex(hash).map_err(|_| bad())?;
        let size = size.parse().map_err(|_| bad())?;
        // One path with two hashes would be an index that two programs read differently.
        if files
            .insert(path.to_owned(), (digest, size))
            .is_some_and(|other| other != (digest, size))
        {
            return Err(bad());
        }
    }
    Ok(files)
}
