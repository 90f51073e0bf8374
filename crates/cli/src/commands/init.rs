//! `cairn init`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use cairn_build::dockerfile::{self, Surroundings, Translation, translate};
use cairn_oci::{Platform, RepositoryName};
use cairn_store::files;
use clap::Args;

use crate::failure::{Exit, Failure};
use crate::program::Cairn;
use crate::project::SPEC;
use crate::terminal::counted;

/// What `cairn init` takes.
#[derive(Debug, Args)]
pub struct Init {
    /// The directory, made if it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    pub place: PathBuf,
    /// The image's name [default: the directory's]
    #[arg(long)]
    pub name: Option<RepositoryName>,
    /// Says what this Dockerfile says, as far as a spec can; every RUN becomes a comment with what to do instead
    #[arg(long, value_name = "DOCKERFILE")]
    pub from: Option<PathBuf>,
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
        let translation = match &self.from {
            Some(file) => Some(translation(&cairn.directory().join(file), &directory, &name)?),
            None => None,
        };
        let text = match &translation {
            Some(translation) => translation.text.clone(),
            None => cairn_build::template(&name, &platform()),
        };
        if !files::create(&path, text.as_bytes(), files::PUBLIC)? {
            return Err(
                Failure::new(Exit::Input, format!("{} exists already", path.display()))
                    .with_hint("edit it, or choose another directory".to_owned()),
            );
        }
        match &translation {
            Some(translation) => {
                tell(cairn, &text, translation);
                tell_ignored(cairn, &directory);
            }
            None => cairn.terminal.say(format!(
                "wrote {SPEC} (one layer from ./dist; edit [config] entrypoint)"
            )),
        }
        cairn.terminal.print(path.display().to_string())
    }
}

/// The spec that the Dockerfile `file` becomes, for a context in `directory`.
fn translation(file: &Path, directory: &Path, name: &RepositoryName) -> Result<Translation, Failure> {
    let failed = |error: String| Failure::new(Exit::Input, format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(dockerfile::LIMIT as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(error.to_string()))?;
    // What was cut off at the limit may end within a character.
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.as_bytes().len() > dockerfile::LIMIT => {
            return Err(failed(dockerfile::DockerfileError::TooLong.to_string()));
        }
        Err(_) => return Err(failed("it is not UTF-8".to_owned())),
    };
    let surroundings = Surroundings {
        name,
        platform: &platform(),
        is_directory: &|path| Some(std::fs::metadata(directory.join(path)).ok()?.is_dir()),
    };
    translate(&text, &surroundings).map_err(|error| failed(error.to_string()))
}

/// Says what is left to do.
fn tell(cairn: &Cairn, text: &str, translation: &Translation) {
    let checks = match translation.checks as u64 {
        0 => "nothing in it is marked CHECK".to_owned(),
        count => format!("look at {} marked CHECK", counted(count, "place", "places")),
    };
    cairn.terminal.say(format!("wrote {SPEC}; {checks}"));
    for finding in &translation.findings {
        let (line, column) = finding.line_column(text);
        cairn.terminal.say(format!(
            "{SPEC}:{line}:{column}: to be mended by hand: {}",
            finding.message
        ));
    }
}

/// Docker's file of exclusions anchors its patterns and may take back what is below an excluded directory: copied as it is,
/// it would mean something else.
fn tell_ignored(cairn: &Cairn, directory: &Path) {
    const THEIRS: &str = ".dockerignore";
    const OURS: &str = ".cairnignore";
    if directory.join(THEIRS).exists() && !directory.join(OURS).exists() {
        cairn.terminal.say(format!(
            "{THEIRS} is not read: write {OURS}, with the rules of .gitignore (`x` is at any depth, `/x` only at the top)"
        ));
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
fn name_of(directory: &Path) -> RepositoryName {
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
