//! The control file of a package (deb-control(5)).

use crate::installed::{Installed, InstalledError};

/// What a package says of itself: one paragraph of fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    text: Vec<u8>,
    fields: Vec<(String, String)>,
    identity: Installed,
}

/// Why a control file is none. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// A line is neither a field nor the continuation of one, or a second paragraph begins.
    #[error("line {line} of the control file is no field")]
    NoField {
        /// Which.
        line: usize,
    },
    /// A field is there twice.
    #[error("the control file has the field {field} twice")]
    Repeated {
        /// Which.
        field: String,
    },
    /// A field that each package has is missing.
    #[error("the control file has no field {field}")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// Name, version or architecture cannot be.
    #[error("the control file names an impossible package")]
    Package {
        /// What is wrong.
        source: InstalledError,
    },
}

impl Control {
    pub(super) fn parse(text: Vec<u8>) -> Result<Self, ControlError> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut is_over = false;
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if line.trim_ascii().is_empty() {
                is_over = !fields.is_empty();
                continue;
            }
            let no_field = ControlError::NoField { line: number };
            if is_over {
                return Err(no_field);
            }
            if line.starts_with(b"#") {
                continue;
            }
            let line = String::from_utf8_lossy(line);
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut().ok_or(no_field)?;
                value.push('\n');
                value.push_str(line.trim_end());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| no_field.clone())?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(no_field);
            }
            if fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(ControlError::Repeated {
                    field: name.to_owned(),
                });
            }
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
        let of = |field: &'static str| get(&fields, field).ok_or(ControlError::Missing { field });
        let identity = Installed::new(of("Package")?, of("Version")?, of("Architecture")?)
            .map_err(|source| ControlError::Package { source })?;
        Ok(Self {
            text,
            fields,
            identity,
        })
    }

    /// Its name, version and architecture.
    #[must_use]
    pub const fn identity(&self) -> &Installed {
        &self.identity
    }

    /// The value of a field, whatever case its name has; further lines keep their leading blank.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        get(&self.fields, field)
    }

    /// The name of the source package that it is made from: that of the package, unless it says otherwise.
    #[must_use]
    pub fn source(&self) -> &str {
        let source = self
            .get("Source")
            .and_then(|value| value.split_whitespace().next());
        source.unwrap_or_else(|| self.identity.name())
    }

    /// The file as the package has it.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

fn get<'f>(fields: &'f [(String, String)], wanted: &str) -> Option<&'f str> {
    let found = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| value.as_str())
}
