//! A tool that is installed, in the environment of a sandbox.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Output, Sandbox, run, tool};

/// A tool that others wrote.
#[derive(Debug)]
pub(super) struct Peer<'a> {
    path: PathBuf,
    sandbox: &'a Sandbox,
}

impl<'a> Peer<'a> {
    /// None if it is not installed, and then the test is skipped.
    pub(super) fn find(name: &str, sandbox: &'a Sandbox) -> Option<Self> {
        let path = tool(name)?;
        // XDG_RUNTIME_DIR: some tools want it to be there.
        std::fs::create_dir_all(sandbox.home().join("run")).expect("a directory in an own one");
        Some(Self { path, sandbox })
    }

    /// The tool, to be started with `arguments`.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        self.sandbox.confine(&mut command);
        command.args(arguments);
        command
    }

    /// Runs it to its end.
    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(arguments))
    }
}
