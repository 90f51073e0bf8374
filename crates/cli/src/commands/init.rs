//! `cairn init`

use std::path::PathBuf;

use cairn_oci::{Platform, RepositoryName};
use cairn_store::files;
use clap::Args;

use crate::failure::{Exit, Failure};
use crate::program::Cairn;
use crate::project::SPEC;

/// What `cairn init` takes.
#[derive(Debug, Args)]
pub struct Init {
    /// The directory, made if it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    pub place: PathBuf,
    /// The image's name [default: the directory's]
    #[arg(long)]
    pub name: Option<RepositoryName>,
}

impl Init {
    /// Writes a commented spec, never over another.
    pub fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        // Without the `.` of `cairn init .`: the path is shown.
        let directory: PathBuf = cairn.directory().join(&self.place).components().collect();
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(&directory),
        };
        let path = directory.join(SPEC);
        let text = cairn_build::template(&name, &platform());
        if !files::create(&path, text.as_bytes(), files::PUBLIC)? {
            return Err(
                Failure::new(Exit::Input, format!("{} exists already", path.display()))
                    .with_hint("edit it, or choose another directory".to_owned()),
            );
        }
        cairn.terminal.say(format!(
            "wrote {SPEC} (one layer from ./dist; edit [config] entrypoint)"
        ));
        cairn.terminal.print(path.display().to_string())
    }
}

/// This machine's platform, in the words of OCI.
fn platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform::new("linux", architecture)
}

/// A repository name as near as possible to the directory's name.
fn name_of(directory: &std::path::Path) -> RepositoryName {
    // `cairn init .` acts in a directory whose own name the path does not say.
    let resolved = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let name = resolved
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let kept: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                '-'
            }
        })
        .collect();
    let parts: Vec<&str> = kept.split('-').filter(|part| !part.is_empty()).collect();
    let name = if parts.is_empty() {
        "app".to_owned()
    } else {
        parts.join("-")
    };
    #[expect(
        clippy::expect_used,
        reason = "letters and digits joined by single hyphens, far below the limit of a file name"
    )]
    name.parse().expect("a repository name")
}
