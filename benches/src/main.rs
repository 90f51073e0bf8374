//! Cairn and its peers on the same work, in one run, on this machine.
//!
//! The peers that are installed are measured and the others named. Every row is a median with its spread; the last
//! column says how many times Cairn's time it is, which is the only figure that means something elsewhere. The
//! page cache is warm everywhere: "cold" means that the tool's own caches and stores are empty.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

mod input;
mod measure;
mod server;

use input::Tree;
use measure::{Row, Runs};
use server::Server;

/// Errors are for a person at a terminal, so text is enough.
type Result<T> = std::result::Result<T, String>;

/// The peers, and what each is measured at.
const PEERS: [(&str, &str); 4] = [
    ("umoci", "packing"),
    ("buildah", "packing, rebuilding"),
    ("crane", "moving a tag"),
    ("skopeo", "moving a tag"),
];

const USAGE: &str =
    "usage: cairn-benches CAIRN [--runs N] [--input DIRECTORY] [--only pack|rebuild|rollback]";

struct Options {
    cairn: PathBuf,
    runs: usize,
    input: Option<PathBuf>,
    only: Option<String>,
}

fn main() -> ExitCode {
    match parse(env::args().skip(1)).and_then(|options| run(&options)) {
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
        runs: 5,
        input: None,
        only: None,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--runs" => options.runs = value.parse().ok().filter(|runs| *runs > 0).ok_or(USAGE)?,
            "--input" => options.input = Some(value.into()),
            "--only" => options.only = Some(value),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<()> {
    let bench = Bench::new(options)?;
    bench.describe()?;
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    if wanted("pack") || wanted("rebuild") {
        let tree = Tree::copy(options.input.as_deref(), &bench.work.path.join("context"))?;
        println!("\nInput: {tree}");
        if wanted("pack") {
            measure::print("Pack the input, cold", &bench.pack(&tree)?);
        }
        if wanted("rebuild") {
            measure::print("Build again, nothing changed", &bench.rebuild(&tree, |_| Ok(()))?);
            measure::print(
                "Build again, one file of 2 KB changed",
                &bench.rebuild(&tree, |round| tree.change(round))?,
            );
        }
    }
    if wanted("rollback") {
        measure::print("Roll back one channel on `cairn serve`", &bench.rollback()?);
    }
    Ok(())
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

    fn describe(&self) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!("{cores} cores; {} runs each", self.runs);
        for (name, what) in std::iter::once(("cairn", "all")).chain(PEERS) {
            let program = if name == "cairn" {
                self.cairn.as_path()
            } else {
                Path::new(name)
            };
            if name != "cairn" && !is_installed(name) {
                println!("- {name}: not installed, so not measured at {what}");
                continue;
            }
            let version = if name == "crane" { "version" } else { "--version" };
            let output = measure::output(Command::new(program).arg(version))?;
            println!("- {name}: {}", output.lines().next().unwrap_or_default());
        }
        Ok(())
    }

    /// Cairn with stores and settings of its own, so that nothing of the user's is read or changed.
    fn cairn(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.cairn);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CAIRN_") || name == "CI" {
                command.env_remove(name);
            }
        }
        let home = self.work.path.join("home");
        command
            .current_dir(directory)
            .env("HOME", &home)
            .env("CAIRN_STORE", self.store());
        for (name, folder) in [
            ("CONFIG", "config"),
            ("DATA", "data"),
            ("STATE", "state"),
            ("CACHE", "cache"),
        ] {
            command.env(format!("XDG_{name}_HOME"), home.join(folder));
        }
        command
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

    fn pack(&self, tree: &Tree) -> Result<Vec<Row>> {
        let fresh = || measure::remove(&self.store());
        let mut rows = vec![
            self.runs()
                .measure("cairn build", |_| fresh(), || self.build(tree))?,
        ];
        rows[0].note = format!("{} MB", input::bytes_under(&self.store())? / 1_000_000);
        let peer = self.work.path.join("peer");
        for (name, script) in [
            (
                "umoci",
                "umoci init --layout \"$OUT\"; umoci new --image \"$OUT:1\"; umoci insert --image \"$OUT:1\" tree /",
            ),
            (
                "buildah",
                "b() { buildah --root \"$OUT.root\" --runroot \"$OUT.run\" \"$@\"; }; b bud --no-cache -q -t bench -f Dockerfile .; b push -q bench \"oci:$OUT:1\"",
            ),
        ] {
            if is_installed(name) {
                let mut row = self.runs().measure(
                    name,
                    |_| measure::remove(&peer),
                    || self.shell(script, &tree.context),
                )?;
                row.note = format!("{} MB", input::bytes_under(&peer)? / 1_000_000);
                rows.push(row);
            }
        }
        measure::remove(&peer)?;
        rows.push(self.floor("floor: tar into gzip -1", "tar -cf - tree | gzip -1", tree)?);
        Ok(rows)
    }

    fn floor(&self, name: &str, script: &str, tree: &Tree) -> Result<Row> {
        self.runs().measure(
            name,
            |_| Ok(()),
            || self.shell(&format!("{script} | cat >/dev/null"), &tree.context),
        )
    }

    fn build(&self, tree: &Tree) -> Command {
        let mut command = self.cairn(&tree.context);
        command.arg("build");
        command
    }

    /// `change` is applied before every run, and is not measured.
    fn rebuild(&self, tree: &Tree, change: impl Fn(usize) -> Result<()>) -> Result<Vec<Row>> {
        measure::run(&mut self.build(tree))?;
        let mut rows = vec![self.runs().measure("cairn build", &change, || self.build(tree))?];
        if is_installed("buildah") {
            let script = "buildah --root \"$OUT.root\" --runroot \"$OUT.run\" bud --layers -q -t bench -f Dockerfile .";
            measure::run(&mut self.shell(script, &tree.context))?;
            rows.push(
                self.runs()
                    .measure("buildah", &change, || self.shell(script, &tree.context))?,
            );
        }
        rows.push(self.floor(
            "floor: a stat of every file, one core",
            "find tree -printf '%s %C@\\n'",
            tree,
        )?);
        Ok(rows)
    }

    fn rollback(&self) -> Result<Vec<Row>> {
        let served = self.work.path.join("served");
        let server = Server::start(
            self.cairn(&self.work.path)
                .args(["serve", "--listen", "127.0.0.1:0", "--store"])
                .arg(served),
        )?;
        let repository = format!("{}/bench/app", server.host);
        let context = self.work.path.join("app");
        for version in ["1.0.0", "2.0.0"] {
            input::write_application(&context, &repository, version)?;
            measure::run(
                self.cairn(&context)
                    .args(["release", version, "--channel", "prod"]),
            )?;
        }
        let cairn = |arguments: &[&str]| {
            let mut command = self.cairn(&context);
            command.args(arguments);
            command
        };
        // Each rollback holds the channel, so it has to be resumed and moved forward before the next.
        let forward = |round: usize| match round {
            0 => Ok(()),
            _ => {
                measure::run(&mut cairn(&["resume", "prod"]))?;
                measure::run(&mut cairn(&["promote", "2.0.0", "prod"]))
            }
        };
        let mut rows = vec![
            self.runs()
                .measure("cairn rollback", forward, || cairn(&["rollback", "prod"]))?,
        ];
        let digest = measure::output(&mut cairn(&["rollback", "prod"]))?;
        let digest = digest.trim().rsplit('@').next().unwrap_or_default().to_owned();
        for (name, script) in [
            ("crane", "crane tag --insecure \"$REPOSITORY@$DIGEST\" other"),
            (
                "skopeo",
                "skopeo copy -q --all --src-tls-verify=false --dest-tls-verify=false \"docker://$REPOSITORY@$DIGEST\" \"docker://$REPOSITORY:other\"",
            ),
        ] {
            if is_installed(name) {
                rows.push(self.runs().measure(
                    name,
                    |_| Ok(()),
                    || {
                        let mut command = self.shell(script, &context);
                        command
                            .env("REPOSITORY", &repository)
                            .env("DIGEST", &digest)
                            .stdin(Stdio::null());
                        command
                    },
                )?);
            }
        }
        Ok(rows)
    }
}
