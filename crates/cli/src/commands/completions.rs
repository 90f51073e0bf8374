//! `cairn completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::program::Cairn;

/// What `cairn completions` takes.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

impl Completions {
    /// Prints a script for the shell.
    pub fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::args::Cli::command(), "cairn", &mut script);
        cairn.terminal.bytes(&script)
    }
}
