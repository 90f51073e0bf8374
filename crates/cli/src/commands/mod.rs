//! The verbs, one file each.

pub mod adopt;
pub mod approve;
pub mod audit;
pub mod build;
pub mod check;
pub mod completions;
pub mod copy;
pub mod diff;
pub mod doctor;
pub mod history;
pub mod init;
pub mod inspect;
pub mod key;
pub mod ledger;
pub mod lock;
pub mod login;
pub mod logout;
pub mod moves;
pub mod promote;
pub mod prune;
pub mod pull;
pub mod push;
pub mod ratify;
pub mod record;
pub mod release;
pub mod repair;
pub mod resume;
pub mod rollback;
pub mod serve;
pub mod show;
pub mod status;
pub mod store;
pub mod switch;
pub mod tags;
pub mod verify;
pub mod which;
pub mod workspace;
pub mod yank;

use crate::args::Command;
use crate::failure::Failure;
use crate::program::Cairn;

/// Does what the command line says.
///
/// # Errors
///
/// [`Failure`], with everything that is to be said and the exit code.
pub async fn run(cairn: &Cairn, command: &Command) -> Result<(), Failure> {
    if cairn.global.workspace || !cairn.global.packages.is_empty() {
        let done = workspace::run(cairn, command).await;
        return cairn.check_states().and(done);
    }
    let done = run_here(cairn, command).await;
    cairn.check_states().and(done)
}

/// Does it for one image, or for none in particular.
async fn run_here(cairn: &Cairn, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Init(verb) => verb.run(cairn),
        Command::Lock(verb) => verb.run(cairn).await,
        Command::Build(verb) => verb.run(cairn).await,
        Command::Push(verb) => verb.run(cairn).await,
        Command::Pull(verb) => verb.run(cairn).await,
        Command::Tags(verb) => verb.run(cairn).await,
        Command::Copy(verb) => verb.run(cairn).await,
        Command::Inspect(verb) => verb.run(cairn).await,
        Command::Release(verb) => verb.run(cairn).await,
        Command::Promote(verb) => verb.run(cairn).await,
        Command::Rollback(verb) => verb.run(cairn).await,
        Command::Prune(verb) => verb.run(cairn).await,
        Command::Resume(verb) => verb.run(cairn).await,
        Command::Switch(verb) => verb.run(cairn).await,
        Command::Yank(verb) => verb.run(cairn).await,
        Command::Adopt(verb) => verb.run(cairn).await,
        Command::Record(verb) => verb.run(cairn).await,
        Command::Repair(verb) => verb.run(cairn).await,
        Command::History(verb) => verb.run(cairn).await,
        Command::Diff(verb) => verb.run(cairn).await,
        Command::Status(verb) => verb.run(cairn).await,
        Command::Show(verb) => verb.run(cairn).await,
        Command::Which(verb) => verb.run(cairn).await,
        Command::Verify(verb) => verb.run(cairn).await,
        Command::Approve(verb) => verb.run(cairn).await,
        Command::Ratify(verb) => verb.run(cairn).await,
        Command::Audit(verb) => verb.run(cairn).await,
        Command::Serve(verb) => verb.run(cairn).await,
        Command::Store(verb) => verb.run(cairn).await,
        Command::Ledger(verb) => verb.run(cairn).await,
        Command::Key(verb) => verb.run(cairn).await,
        Command::Doctor(verb) => verb.run(cairn).await,
        Command::Login(verb) => verb.run(cairn).await,
        Command::Logout(verb) => verb.run(cairn).await,
        Command::Completions(verb) => verb.run(cairn),
    }
}
