//! The program `cairn`: arguments, configuration, rendering, exit codes.
//!
//! Everything that reads the environment, the clock or the terminal is here; the rooms below are handed what they need.
//!
//! ```text
//!   main ──▶ args ──▶ commands::VERB ──▶ program (places, spec, keys, ledger) ──▶ the rooms
//!                          └──▶ terminal (stdout: data, stderr: the rest), failure (exit code)
//! ```

#![expect(
    unreachable_pub,
    reason = "a program has no public items; `pub` marks what a module offers the others"
)]
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "arguments' comments are help texts: [:TAG] means optional there"
)]

mod args;
mod cache;
mod certificates;
mod child;
mod classify;
mod collecting;
mod commands;
mod credentials;
mod debian;
mod diagnostic;
mod distant;
mod environment;
mod escape;
mod failure;
mod fetch;
mod kept_inputs;
mod ledgers;
mod lock_file;
mod moment;
mod offline;
mod output;
mod pipeline;
mod place;
mod places;
mod program;
mod progress;
mod project;
mod prompt;
mod registries;
mod released;
mod remembered;
mod roles;
mod rules;
mod signing;
mod source;
mod tagging;
mod terminal;
mod text_file;
mod workspace;

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use args::Cli;
use environment::Environment;
use failure::{Exit, Failure};
use program::Cairn;
use terminal::Terminal;

/// How long files in the making are waited for after a signal.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report_bug));
    let run = std::panic::catch_unwind(AssertUnwindSafe(start));
    ExitCode::from(run.unwrap_or(Exit::Bug as u8))
}

/// Says what happened on one line: a bug is reported by people who do not read Rust.
fn report_bug(panic: &std::panic::PanicHookInfo<'_>) {
    let text = escape::escape(&panic.to_string());
    let message =
        format!("error: a bug in Cairn: {text}\nhint: please report it, with the command that you ran\n");
    // There is nobody else to tell.
    let _unheard = std::io::stderr().write_all(message.as_bytes());
}

fn start() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help to stdout and everything else to stderr, and knows the exit code for each.
            let _unheard = error.print();
            if let Some(hint) = misplaced(&error) {
                let _unheard = std::io::stderr().write_all(format!("\nhint: {hint}\n").as_bytes());
            }
            return u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8);
        }
    };
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(error) => {
            let failure = Failure::of(Exit::Environment, &error);
            Terminal::new(false, false, false, false).fail(&failure);
            return failure.exit() as u8;
        }
    };
    let terminal = cli.global.terminal(&environment);
    match execute(cli, environment, terminal) {
        Ok(()) => 0,
        Err((terminal, failure)) => {
            terminal.fail(&failure);
            failure.exit() as u8
        }
    }
}

/// What to say of a repository that was given where none is taken.
fn misplaced(error: &clap::Error) -> Option<&'static str> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg)?;
    let given = match error.kind() {
        ErrorKind::UnknownArgument => argument,
        ErrorKind::ValueValidation if argument.contains("CHANNEL") => text(ContextKind::InvalidValue)?,
        _ => return None,
    };
    let is_repository = given.contains('/') && given.parse::<cairn_oci::Reference>().is_ok();
    is_repository.then_some("a repository is named with --repository")
}

fn execute(cli: Cli, environment: Environment, terminal: Terminal) -> Result<(), (Terminal, Failure)> {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Err((terminal, Failure::of(Exit::Environment, &error))),
    };
    let cairn = Cairn::new(cli.global, environment, terminal);
    let result = runtime.block_on(until_signal(&cairn, &cli.command));
    runtime.shutdown_timeout(GRACE);
    result.map_err(|failure| (cairn.terminal.clone(), failure))
}

/// Runs the command; a signal drops it where it waits. What it was writing has no final name yet, and is removed.
async fn until_signal(cairn: &Cairn, command: &args::Command) -> Result<(), Failure> {
    if let args::Command::Serve(_) | args::Command::Doctor(_) = command {
        // They stop in their own way: a server finishes what it has begun, a doctor cleans up.
        return commands::run(cairn, command).await;
    }
    let failed = |error: std::io::Error| Failure::of(Exit::Environment, &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let interrupted = || {
        Failure::new(
            Exit::Interrupted,
            "interrupted; run the same command again to go on",
        )
    };
    let terminated = || {
        Failure::new(
            Exit::Terminated,
            "terminated; run the same command again to go on",
        )
    };
    let result = tokio::select! {
        result = commands::run(cairn, command) => result,
        _ = interrupt.recv() => return Err(interrupted()),
        _ = terminate.recv() => return Err(terminated()),
    };
    // A signer that was waited for was told of the signal too; then its failure is not the reason.
    match result {
        Err(_) if interrupt.recv().now_or_never().is_some() => Err(interrupted()),
        Err(_) if terminate.recv().now_or_never().is_some() => Err(terminated()),
        result => result,
    }
}
