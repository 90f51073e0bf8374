//! Where packages come from: sources.list(5), in both of its forms.

use super::text;
use crate::control::paragraphs;

/// One suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The archive's root, without a slash at its end: `https://mirror.example.org/debian`, or `file:/srv/debian`.
    pub uri: String,
    /// Its suite or codename, such as `bookworm`. One that ends in a slash is a directory with the index itself.
    pub suite: String,
    /// Its components, such as `main`; none for such a directory.
    pub components: Vec<String>,
    /// Only for these architectures of packages; none named: for all.
    pub architectures: Vec<String>,
    /// Whose signature counts.
    pub signed_by: SignedBy,
}

/// Whose signature of an archive counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedBy {
    /// Files of keys; none: those of the host, or the one that the spec names.
    pub files: Vec<String>,
    /// Keys in their place, armored.
    pub armored: Option<String>,
    /// Only keys of these fingerprints; none: all of the keyring's.
    pub fingerprints: Vec<String>,
}

/// Why a file is no list of sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A line is none that is known.
    #[error("line {line} is not a source")]
    Line {
        /// Which line, from 1.
        line: usize,
    },
    /// A source lacks what it needs.
    #[error("the source at line {line} has no {field}")]
    Missing {
        /// Where it begins, from 1.
        line: usize,
        /// What it lacks.
        field: &'static str,
    },
    /// An address is of a kind that is not read.
    #[error("the source at line {line} is at `{uri}`: only https, http, file and copy are read")]
    Uri {
        /// Where it begins, from 1.
        line: usize,
        /// The address, escaped.
        uri: String,
    },
}

impl Source {
    /// Whether it has packages of `architecture`, as far as it says itself.
    #[must_use]
    pub fn is_for(&self, architecture: &str) -> bool {
        self.architectures.is_empty() || self.architectures.iter().any(|own| own == architecture)
    }

    /// Whether it is a part of the Debian release `suite`: that suite, its updates, its security.
    #[must_use]
    pub fn belongs_to(&self, suite: &str) -> bool {
        match self.suite.strip_prefix(suite) {
            Some(rest) => matches!(rest, "" | "-updates" | "-security" | "/updates"),
            None => false,
        }
    }
}

/// Reads a file in the form of paragraphs: `/etc/apt/sources.list.d/*.sources`. What is disabled and what is source code is
/// left out.
///
/// # Errors
///
/// [`SourceError`] with the line.
pub fn read_deb822(bytes: &[u8]) -> Result<Vec<Source>, SourceError> {
    let wanted = [
        "Types",
        "URIs",
        "Suites",
        "Components",
        "Architectures",
        "Signed-By",
        "Enabled",
    ];
    let paragraphs = paragraphs(bytes, wanted).map_err(|(line, _)| SourceError::Line { line })?;
    let mut sources = Vec::new();
    for paragraph in paragraphs {
        let line = paragraph.line;
        let [types, uris, suites, components, architectures, signed_by, enabled] =
            paragraph.fields.map(|field| field.map(without_comments));
        let missing = |field| SourceError::Missing { line, field };
        let types = types.ok_or_else(|| missing("Types"))?;
        let is_enabled =
            enabled.is_none_or(|value| !matches!(value.to_ascii_lowercase().as_str(), "no" | "false" | "0"));
        if !is_enabled || !types.split_ascii_whitespace().any(|kind| kind == "deb") {
            continue;
        }
        let uris = uris.ok_or_else(|| missing("URIs"))?;
        let suites = suites.ok_or_else(|| missing("Suites"))?;
        for uri in uris.split_ascii_whitespace() {
            for suite in suites.split_ascii_whitespace() {
                sources.push(checked(
                    line,
                    Source {
                        uri: uri.to_owned(),
                        suite: suite.to_owned(),
                        components: words(components.as_deref()),
                        architectures: words(architectures.as_deref()),
                        signed_by: signed_by.as_deref().map(read_signed_by).unwrap_or_default(),
                    },
                )?);
            }
        }
    }
    Ok(sources)
}

/// Comments may stand between the lines of a field.
fn without_comments(value: &[u8]) -> String {
    let value = text::lossy(value);
    let lines = value.lines().filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads a file with one source in each line: `/etc/apt/sources.list` and `sources.list.d/*.list`.
///
/// # Errors
///
/// [`SourceError`] with the line.
pub fn read_one_line(bytes: &[u8]) -> Result<Vec<Source>, SourceError> {
    let mut sources = Vec::new();
    for (line, content) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let content = text::lossy(content);
        let content = content.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let bad = || SourceError::Line { line };
        let (kind, rest) = content.split_once([' ', '\t']).ok_or_else(bad)?;
        match kind {
            "deb" => {}
            "deb-src" => continue,
            _ => return Err(bad()),
        }
        let (options, rest) = match rest.trim_start().strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(bad)?,
            None => ("", rest),
        };
        let mut words = rest.split_ascii_whitespace().map(str::to_owned);
        let missing = |field| SourceError::Missing { line, field };
        let mut source = Source {
            uri: words.next().ok_or_else(|| missing("address"))?,
            suite: words.next().ok_or_else(|| missing("suite"))?,
            components: words.collect(),
            architectures: Vec::new(),
            signed_by: SignedBy::default(),
        };
        for option in options.split_ascii_whitespace() {
            match option.split_once('=').ok_or_else(bad)? {
                ("arch", list) => source.architectures = list.split(',').map(str::to_owned).collect(),
                ("signed-by", list) => source.signed_by = read_signed_by(list),
                // Among them `trusted=yes`: nothing that is not signed is ever taken.
                _ => {}
            }
        }
        sources.push(checked(line, source)?);
    }
    Ok(sources)
}

fn checked(line: usize, mut source: Source) -> Result<Source, SourceError> {
    let known = ["https://", "http://", "file:/", "copy:/"];
    if !known.iter().any(|scheme| source.uri.starts_with(scheme)) || source.uri.contains(['?', '#', '\\']) {
        let uri = source.uri.escape_debug().to_string();
        return Err(SourceError::Uri { line, uri });
    }
    if source.components.is_empty() && !source.suite.ends_with('/') {
        return Err(SourceError::Missing {
            line,
            field: "component",
        });
    }
    let slashes = source.uri.trim_end_matches('/').len();
    source.uri.truncate(slashes);
    Ok(source)
}

fn words(field: Option<&str>) -> Vec<String> {
    let words = field.unwrap_or_default().split_ascii_whitespace();
    words.map(str::to_owned).collect()
}

/// Files, fingerprints, or a key itself, whose blank lines are written as ` .`.
fn read_signed_by(value: &str) -> SignedBy {
    if value.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        let lines = value.lines().map(str::trim);
        let lines: Vec<_> = lines.map(|line| if line == "." { "" } else { line }).collect();
        return SignedBy {
            armored: Some(lines.join("\n")),
            ..SignedBy::default()
        };
    }
    let mut signed_by = SignedBy::default();
    for word in value
        .split([' ', ',', '\t', '\n'])
        .filter(|word| !word.is_empty())
    {
        if word.starts_with('/') {
            signed_by.files.push(word.to_owned());
        } else {
            signed_by.fingerprints.push(word.trim_end_matches('!').to_owned());
        }
    }
    signed_by
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let paragraphs = "# a comment\nTypes: deb deb-src\nURIs: https://mirror.example.org/debian/\nSuites: bookworm bookworm-updates\n\
            # another\nComponents: main\n# inside\n contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
            Types: deb\nURIs: https://mirror.example.org/other\nSuites: x\nComponents: main\nEnabled: no\n";
        let lines = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://mirror.example.org/debian bookworm main contrib\n\
            deb-src https://mirror.example.org/debian bookworm main\n\
            deb [trusted=yes signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://mirror.example.org/debian bookworm-updates main contrib # note\n";
        let read = read_deb822(paragraphs.as_bytes()).unwrap();
        assert_eq!(read, read_one_line(lines.as_bytes()).unwrap());
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].suite, "bookworm-updates");
        assert!(read[1].belongs_to("bookworm") && !read[1].belongs_to("book"));
    }

    #[test]
    fn keys_can_be_named_three_ways() {
        let armored = "Types: deb\nURIs: file:/srv/debian\nSuites: ./\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n -----END PGP PUBLIC KEY BLOCK-----\n";
        let source = &read_deb822(armored.as_bytes()).unwrap()[0];
        let expected = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----";
        assert_eq!(source.signed_by.armored.as_deref(), Some(expected));
        let line = "deb [arch=amd64,arm64 signed-by=/k.gpg,0123456789ABCDEF0123456789ABCDEF01234567!] file:/srv/debian ./\n";
        let source = &read_one_line(line.as_bytes()).unwrap()[0];
        assert_eq!(source.signed_by.files, ["/k.gpg"]);
        assert_eq!(
            source.signed_by.fingerprints,
            ["0123456789ABCDEF0123456789ABCDEF01234567"]
        );
        assert!(source.is_for("arm64") && !source.is_for("i386"));
    }

    #[test]
    fn what_is_no_source_is_named_with_its_line() {
        for (text, error) in [
            ("\ndeb\n", SourceError::Line { line: 2 }),
            (
                "deb https://mirror.example.org/debian\n",
                SourceError::Missing {
                    line: 1,
                    field: "suite",
                },
            ),
            (
                "deb https://mirror.example.org/debian x\n",
                SourceError::Missing {
                    line: 1,
                    field: "component",
                },
            ),
            (
                "rpm https://mirror.example.org/debian x y\n",
                SourceError::Line { line: 1 },
            ),
            (
                "deb cdrom:[x]/ x y\n",
                SourceError::Uri {
                    line: 1,
                    uri: "cdrom:[x]/".to_owned(),
                },
            ),
        ] {
            assert_eq!(read_one_line(text.as_bytes()), Err(error), "{text}");
        }
        let text = "Types: deb\nSuites: x\n";
        assert_eq!(
            read_deb822(text.as_bytes()),
            Err(SourceError::Missing {
                line: 1,
                field: "URIs"
            })
        );
    }
}
