//! dpkg's record of what is installed: `/var/lib/dpkg/status`, or one file for each package in
//! `/var/lib/dpkg/status.d` (images without a package manager).

use crate::control::{Flaw, Paragraph, paragraphs};
use crate::installed::{Installed, InstalledError};

/// Path of the status file in an image, without the leading slash.
pub const PATH: &str = "var/lib/dpkg/status";
/// Directory of the files with one package each, without the leading slash.
pub const DIRECTORY: &str = "var/lib/dpkg/status.d";
/// The longest record that is read, in bytes (64 MiB): a base has seldom more than one.
pub const LIMIT: usize = 64 << 20;

/// Why a record cannot be read. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// It is longer than [`LIMIT`].
    #[error("the package record has {length} bytes, more than {LIMIT}")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
    },
    /// A line is neither a field nor the continuation of one.
    #[error("line {line} of the package record is not a field")]
    NoField {
        /// Which line.
        line: usize,
    },
    /// A field that counts is twice in one paragraph.
    #[error("line {line} of the package record repeats a field")]
    Repeated {
        /// Which line.
        line: usize,
    },
    /// A paragraph of an installed package lacks a field.
    #[error("the package at line {line} of the package record has no {field}")]
    Missing {
        /// Where the paragraph starts.
        line: usize,
        /// Which field.
        field: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("the package at line {line} of the package record cannot be")]
    Package {
        /// Where the paragraph starts.
        line: usize,
        /// What is wrong.
        source: InstalledError,
    },
    /// The state of a package has no three words.
    #[error("the package at line {line} of the package record has the impossible status `{status}`")]
    Status {
        /// Where the paragraph starts.
        line: usize,
        /// The status, escaped.
        status: String,
    },
}

/// The packages that `bytes` records as installed, sorted.
///
/// A package counts if its files are there and configured: the state `installed`, or one of the two that only wait for a
/// trigger (dpkg(1), "Package states"). A paragraph without `Status`, as in `status.d`, counts too.
///
/// # Errors
///
/// [`StatusError`] with the line.
pub fn read(bytes: &[u8]) -> Result<Vec<Installed>, StatusError> {
    if bytes.len() > LIMIT {
        return Err(StatusError::TooLarge { length: bytes.len() });
    }
    let wanted = ["Package", "Version", "Architecture", "Status"];
    let paragraphs = paragraphs(bytes, wanted).map_err(|(line, flaw)| match flaw {
        Flaw::NoField => StatusError::NoField { line },
        Flaw::Repeated => StatusError::Repeated { line },
    })?;
    let mut installed = Vec::new();
    for paragraph in paragraphs {
        if is_installed(&paragraph)? {
            installed.push(package(&paragraph)?);
        }
    }
    installed.sort();
    Ok(installed)
}

fn is_installed(paragraph: &Paragraph<'_, 4>) -> Result<bool, StatusError> {
    let Some(status) = paragraph.fields[3] else {
        return Ok(true);
    };
    let words: Vec<&[u8]> = status
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    match words[..] {
        [_, _, state] => Ok(matches!(
            state,
            b"installed" | b"triggers-pending" | b"triggers-awaited"
        )),
        _ => Err(StatusError::Status {
            line: paragraph.line,
            status: status.escape_ascii().to_string(),
        }),
    }
}

fn package(paragraph: &Paragraph<'_, 4>) -> Result<Installed, StatusError> {
    let line = paragraph.line;
    let field = |index: usize, field| {
        let value = paragraph.fields[index].ok_or(StatusError::Missing { line, field })?;
        Ok(String::from_utf8_lossy(value).into_owned())
    };
    let (name, version, architecture) = (
        field(0, "Package")?,
        field(1, "Version")?,
        field(2, "Architecture")?,
    );
    Installed::new(&name, &version, &architecture).map_err(|source| StatusError::Package { line, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUS: &str = include_str!("../tests/status");

    #[test]
    fn installed_packages_are_read_and_sorted_and_others_left_out() {
        let packages: Vec<String> = read(STATUS.as_bytes())
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            packages,
            [
                "adduser 3.134 all",
                "base-files 12.4+deb12u10 amd64",
                "libc-bin 2.36-9+deb12u10 amd64",
                "libc6 2.36-9+deb12u10 amd64",
            ]
        );
    }

    #[test]
    fn a_paragraph_without_status_counts_as_installed() {
        let one = "Package: tzdata\nVersion: 2026a-0+deb12u1\nArchitecture: all\n";
        assert_eq!(read(one.as_bytes()).unwrap()[0].name(), "tzdata");
    }

    #[test]
    fn damaged_records_are_refused_with_their_line() {
        let package = "Package: a1\nVersion: 1\nArchitecture: all\nStatus: install ok installed\n";
        let cases = [
            (" continued\n".to_owned(), StatusError::NoField { line: 1 }),
            (
                "Package: a\nno field here\n".to_owned(),
                StatusError::NoField { line: 2 },
            ),
            (
                format!("{package}Version: 2\n"),
                StatusError::Repeated { line: 5 },
            ),
            (
                format!("{package}VERSION: 2\n"),
                StatusError::Repeated { line: 5 },
            ),
            (
                format!("{package}\n\nPackage: b2\n"),
                StatusError::Missing {
                    line: 7,
                    field: "Version",
                },
            ),
        ];
        for (text, error) in cases {
            assert_eq!(read(text.as_bytes()), Err(error), "{text}");
        }
        let escape = package.replace("a1", "a\u{1b}[2J");
        assert!(matches!(
            read(escape.as_bytes()),
            Err(StatusError::Package { line: 1, .. })
        ));
        let half = package.replace("install ok installed", "installed");
        assert!(matches!(
            read(half.as_bytes()),
            Err(StatusError::Status { line: 1, .. })
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packages) = read(&bytes) {
                prop_assert!(packages.is_sorted());
            }
        }
    }
}
