//! Cairn and its peers on the same work, in one run, on this machine.
//!
//! The peers that are installed are measured and the others named. Every row is a median with its spread; the last
//! column says how many times Cairn's time it is, which is the only figure that means something elsewhere. The
//! page cache is warm everywhere: "cold" means that the tool's own caches and stores are empty.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod archive;
mod buildkit;
mod floor;
mod generate;
mod http;
mod input;
mod ledger;
mod load;
mod measure;
mod packages;
mod server;
mod tables;
mod transfer;

use input::Tree;
use measure::{Promise, Runs};

/// Errors are for a person at a terminal, so text is enough.
type Result<T> = std::result::Result<T, String>;

/// The peers, and what each is measured at.
const PEERS: [(&str, &str); 12] = [
    ("umoci", "packing"),
    ("buildah", "packing, rebuilding, pushing a change, packages"),
    ("mmdebstrap", "packages"),
    ("buildkitd", "packing, rebuilding, pushing a change"),
    ("crane", "pushing and pulling, moving a tag"),
    ("regctl", "pushing and pulling"),
    ("skopeo", "pushing and pulling, moving a tag"),
    ("docker-registry", "taking pushes of a change, serving"),
    (
        "registry",
        "taking pushes and giving pulls of the large image, serving",
    ),
    ("strace", "counting a server's syncs"),
    ("pigz", "compressing alone"),
    ("zstd", "compressing alone"),
];

/// The tables, by the names that `--rows` takes.
const ROWS: [&str; 10] = [
    "pack", "noop", "change", "cold", "memory", "transfer", "packages", "rollback", "ledger", "server",
];

const USAGE: &str = "usage: cairn-benches CAIRN [--runs N] [--rows pack,noop,change,cold,memory,transfer,packages,rollback,ledger,server] [--quick] \
                     [--inputs DIRECTORY] [--input TREE] [--out FILE]";

struct Options {
    cairn: PathBuf,
    runs: usize,
    rows: Vec<String>,
    quick: bool,
    inputs: PathBuf,
    input: Option<PathBuf>,
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match &arguments[..] {
        [what, path] if what == "stat" => floor::stat(Path::new(path)),
        [what, path] if what == "compress" => floor::compress(Path::new(path)),
        [what, more @ ..] if what == "ledger" => generate::run(more),
        _ => parse(arguments.into_iter()).and_then(|options| run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let cairn = arguments.next().ok_or(USAGE)?;
    let cairn = fs::canonicalize(&cairn).map_err(|error| format!("cannot find {cairn}: {error}"))?;
    let mut options = Options {
        cairn,
        runs: 3,
        rows: ROWS.map(str::to_owned).to_vec(),
        quick: false,
        inputs: env::temp_dir().join("cairn-bench-inputs"),
        input: None,
        out: None,
    };
    while let Some(name) = arguments.next() {
        if name == "--quick" {
            options.quick = true;
            continue;
        }
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--runs" => options.runs = value.parse().ok().filter(|runs| *runs > 0).ok_or(USAGE)?,
            "--rows" => options.rows = rows(&value)?,
            "--inputs" => options.inputs = value.into(),
            "--input" => options.input = Some(value.into()),
            "--out" => options.out = Some(value.into()),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

fn rows(list: &str) -> Result<Vec<String>> {
    let names: Vec<_> = list.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| !ROWS.contains(&name.as_str())) {
        None => Ok(names),
        Some(unknown) => Err(format!("there are no rows `{unknown}`\n{USAGE}")),
    }
}

fn run(options: &Options) -> Result<()> {
    let bench = Bench::new(options)?;
    let mut report = Report::default();
    report.add(bench.describe()?);
    let wanted = |name: &str| options.rows.iter().any(|row| row == name);
    if ["pack", "noop", "change", "cold", "memory", "transfer"]
        .into_iter()
        .any(wanted)
    {
        fs::create_dir_all(&options.inputs)
            .map_err(|error| format!("cannot create {}: {error}", options.inputs.display()))?;
        let big = Tree::big(options.input.as_deref(), &options.inputs, options.quick)?;
        let many = Tree::many(&options.inputs, options.quick)?;
        report.add(format!("\nInputs: {big}; {many}\n"));
        bench.builds(&big, &many, &wanted, &mut report)?;
    }
    if wanted("packages") {
        bench.packages(&options.inputs, &mut report)?;
    }
    if wanted("rollback") {
        report.add(measure::table(
            "Roll back one channel on `cairn serve`",
            &bench.rollback()?,
            &[Promise::slower("crane", 0.2)],
        ));
    }
    if wanted("ledger") {
        bench.ledgers(options.quick, &mut report)?;
    }
    if wanted("server") {
        bench.loads(options.quick, &mut report)?;
    }
    match &options.out {
        Some(out) => {
            fs::write(out, report.0).map_err(|error| format!("cannot write {}: {error}", out.display()))
        }
        None => Ok(()),
    }
}

/// What is printed, kept for a file too.
#[derive(Default)]
struct Report(String);

impl Report {
    fn add(&mut self, text: String) {
        print!("{text}");
        self.0.push_str(&text);
    }
}

/// Whether a program of this name is on the search path.
fn is_installed(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// A directory that is removed at the end.
struct Work {
    path: PathBuf,
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

struct Bench {
    cairn: PathBuf,
    runs: usize,
    work: Work,
}

impl Bench {
    fn new(options: &Options) -> Result<Self> {
        let path = env::temp_dir().join(format!("cairn-benches-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Self {
            cairn: options.cairn.clone(),
            runs: options.runs,
            work: Work { path },
        })
    }

    fn describe(&self) -> Result<String> {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let mut text = format!("{cores} cores; {} runs each; the page cache is warm\n", self.runs);
        for (name, what) in std::iter::once(("cairn", "all")).chain(PEERS) {
            let program = if name == "cairn" {
                self.cairn.as_path()
            } else {
                Path::new(name)
            };
            if name != "cairn" && !is_installed(name) {
                text.push_str(&format!("- {name}: not installed, so not measured at {what}\n"));
                continue;
            }
            let version = match name {
                "crane" | "regctl" => "version",
                _ => "--version",
            };
            let output = measure::output(Command::new(program).arg(version))?;
            text.push_str(&format!(
                "- {name}: {}\n",
                output.lines().next().unwrap_or_default()
            ));
        }
        Ok(text)
    }

    /// Cairn with stores and settings of its own, so that nothing of the user's is read or changed.
    fn cairn(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.cairn);
        self.confine(&mut command);
        command.current_dir(directory);
        command
    }

    fn confine(&self, command: &mut Command) {
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CAIRN_") || name == "CI" {
                command.env_remove(name);
            }
        }
        let home = self.work.path.join("home");
        command.env("HOME", &home).env("CAIRN_STORE", self.store());
        for (name, folder) in [
            ("CONFIG", "config"),
            ("DATA", "data"),
            ("STATE", "state"),
            ("CACHE", "cache"),
        ] {
            command.env(format!("XDG_{name}_HOME"), home.join(folder));
        }
    }

    fn store(&self) -> PathBuf {
        self.work.path.join("store")
    }

    fn runs(&self) -> Runs {
        Runs::new(self.runs)
    }

    fn shell(&self, script: &str, directory: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-euc", script])
            .current_dir(directory)
            .env("OUT", self.work.path.join("peer"));
        command
    }

    /// Empties the store and all that is kept for a next build.
    fn forget(&self) -> Result<()> {
        measure::remove(&self.store())?;
        measure::remove(&self.work.path.join("home"))
    }
}
