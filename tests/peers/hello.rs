//! `examples/hello` as somebody's application, in versions.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Sandbox, run, workspace};

/// A copy of the example that can be changed and built.
#[derive(Debug)]
pub(super) struct Hello {
    directory: PathBuf,
}

impl Hello {
    /// Copies the example's sources and spec into a sandbox's project.
    pub(super) fn write(sandbox: &Sandbox) -> Self {
        let example = workspace().join("examples/hello");
        for path in [
            "Cargo.toml",
            "Cargo.lock",
            ".cargo/config.toml",
            "cairn.toml",
            "src/main.rs",
        ] {
            let content = std::fs::read(example.join(path)).expect("a file of the example");
            sandbox.write(path, content);
        }
        Self {
            directory: sandbox.project(),
        }
    }

    /// Builds the application as it is now, for this machine, and returns the static binary.
    pub(super) fn build(&self) -> PathBuf {
        let mut script = Command::new(workspace().join("scripts/build-hello.sh"));
        let output = run(script.arg(&self.directory)).ok();
        self.directory.join("dist").join(output.line()).join("hello")
    }

    /// Changes what the application answers, as a developer does, and builds it.
    pub(super) fn change(&self, from: &str, to: &str) {
        let source = self.directory.join("src/main.rs");
        replace(&source, from, to);
        self.build();
    }

    /// Gives the spec this machine's architecture.
    pub(super) fn set_platform(&self) {
        let spec = self.directory.join("cairn.toml");
        replace(&spec, "linux/amd64", super::machine::platform());
    }

    /// Gives the spec this machine's architecture, and a repository.
    pub(super) fn set(&self, repository: &str) {
        let spec = self.directory.join("cairn.toml");
        self.set_platform();
        let section = format!("[image]\nrepository = \"{repository}\"");
        replace(&spec, "[image]", &section);
    }
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).expect("a text");
    assert_eq!(text.matches(from).count(), 1, "{from} in {}", file.display());
    std::fs::write(file, text.replace(from, to)).expect("an own file");
}
