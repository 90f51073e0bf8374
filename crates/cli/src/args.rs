//! The command line, as clap reads it. What each verb takes stands beside the verb in [`crate::commands`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    adopt, approve, audit, build, completions, copy, diff, doctor, history, init, inspect, key, ledger, lock,
    login, logout, promote, prune, pull, push, ratify, record, release, repair, resume, rollback, serve,
    show, status, store, switch, tags, verify, which, yank,
};

/// Reproducible images, and a signed ledger of their releases.
///
/// Nothing is ever changed in place: a build makes a new digest, a release a new entry in the ledger, and a rollback a new
/// entry that points at an old digest.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, max_term_width = 100)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Acts as if started in DIR
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// Acts on this image of the workspace; may be repeated
    #[arg(short, long = "package", value_name = "NAME", global = true)]
    pub packages: Vec<String>,
    /// Acts on every image of the workspace
    #[arg(long, global = true, conflicts_with = "packages")]
    pub workspace: bool,
    /// Where the local store is [default: $CAIRN_STORE, else $XDG_DATA_HOME/cairn/store]
    #[arg(long, value_name = "DIR", global = true)]
    pub store: Option<PathBuf>,
    /// Prints one JSON document instead of lines, where a verb reports something; errors stay text on stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// Says nothing on stderr but errors and warnings
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Says more on stderr
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Colours in messages
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    pub color: Color,
    /// No progress bars
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Trusts the authorities in FILE (PEM) too, for every registry; and speaks TLS to those on this machine [default: $CAIRN_CA,
    /// for others]
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// Speaks plain HTTP to registries that are not on this machine
    #[arg(long, global = true)]
    pub plain_http: bool,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes a commented spec
    Init(init::Init),
    /// Resolves what is not pinned, and writes cairn.lock
    Lock(lock::Lock),
    /// Builds the image into the local store
    Build(build::Build),
    /// Builds, then copies the image to its repository
    Push(push::Push),
    /// Copies an image from a registry into the local store
    Pull(pull::Pull),
    /// Lists the tags of a repository
    Tags(tags::Tags),
    /// Copies an image between any two places
    Copy(copy::Copy),
    /// Shows what an image is made of
    Inspect(inspect::Inspect),
    /// Builds and pushes, or takes an image that exists; writes it into the ledger; moves channels
    Release(release::Release),
    /// Points channels at a release
    Promote(promote::Promote),
    /// Takes a channel one step back
    Rollback(rollback::Rollback),
    /// Lifts the hold that a rollback left
    Resume(resume::Resume),
    /// Blue-green: a live channel takes what a slot shows
    Switch(switch::Switch),
    /// Bars a version: nothing moves to it any more
    Yank(yank::Yank),
    /// Brings in images that exist: their tags become versions, and channels begin where they are
    Adopt(adopt::Adopt),
    /// Accepts what somebody's hand put on a channel's tag
    Record(record::Record),
    /// Moves a channel's tag back to what the ledger says
    Repair(repair::Repair),
    /// Lists the entries that wait for signatures, or signs one of them
    Approve(approve::Approve),
    /// Accepts what a key outside the ledger did with --break-glass
    Ratify(ratify::Ratify),
    /// Shows the ledger, newest entry first
    History(history::History),
    /// Shows what each channel names now, and its way back
    Status(status::Status),
    /// Shows one release
    Show(show::Show),
    /// Says what a digest or tag is that was seen somewhere: which release, when, by whom, from which source
    Which(which::Which),
    /// Says what tells two images apart: files, configuration, layers
    Diff(diff::Diff),
    /// Checks every byte of an image
    Verify(verify::Verify),
    /// Checks the whole ledger against keys, memory, tags and blobs
    Audit(audit::Audit),
    /// Drops the images of old releases, and says so in the ledger; never what channels show, their way back, or what is pinned
    Prune(prune::Prune),
    /// Serves the local store as an OCI registry
    Serve(serve::Serve),
    /// Looks after the local store
    Store(store::StoreCommand),
    /// Starts a ledger, shows its head, or its rules
    Ledger(ledger::LedgerCommand),
    /// Shows or makes the signing key; lists, adds and removes the ledger's keys
    Key(key::Key),
    /// Finds out what a registry does, and what that means for a ledger there
    Doctor(doctor::Doctor),
    /// Signs in to a registry: checks a password or token, and keeps it where docker and podman do
    Login(login::Login),
    /// Signs out of a registry: forgets the password or token
    Logout(logout::Logout),
    /// Prints completions for a shell
    Completions(completions::Completions),
}

impl Global {
    /// How the command is to speak.
    #[must_use]
    pub fn terminal(&self, environment: &crate::environment::Environment) -> crate::terminal::Terminal {
        let color = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => environment.stderr_is_terminal && !environment.no_color(),
        };
        let hidden = self.no_progress || self.json || self.quiet;
        let mut terminal = crate::terminal::Terminal::new(self.json, self.quiet, self.verbose, color);
        terminal.progress = environment.is_rich_terminal() && !hidden;
        terminal.columns = environment.columns();
        terminal
    }
}
