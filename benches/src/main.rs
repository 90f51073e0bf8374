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
use measure::{Promise, Row, Runs};
use server::Server;

/// Errors are for a person at a terminal, so text is enough.
type Result<T> = std::result::Result<T, String>;

/// The peers, and what each is measured at.
const PEERS: [(&str, &str); 6] = [
    ("umoci", "packing"),
    ("buildah", "packing, rebuilding, pushing a change"),
    ("crane", "moving a tag"),
    ("skopeo", "moving a tag"),
    ("pigz", "compressing alone"),
    ("zstd", "compressing alone"),
];

/// What is not measured here, and why; said in each result.
const UNMEASURED: [(&str, &str); 2] = [
    (
        "BuildKit",
        "its daemon is not driven here yet, so its promises are not judged",
    ),
    (
        "regctl",
        "pushing and pulling of the large image is not measured here yet",
    ),
];

/// The tables, by the names that `--rows` takes.
const ROWS: [&str; 6] = ["pack", "noop", "change", "cold", "memory", "rollback"];

const USAGE: &str = "usage: cairn-benches CAIRN [--runs N] [--rows pack,noop,change,cold,memory,rollback] [--quick] \
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
    if ["pack", "noop", "change", "cold", "memory"]
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
    if wanted("rollback") {
        report.add(measure::table(
            "Roll back one channel on `cairn serve`",
            &bench.rollback()?,
            &[],
        ));
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

/// A compressor alone, on all cores; not the one that Cairn has, so it judges no promise.
const PACK_FLOOR: &str = "floor: tar into pigz -1 on all cores";
const STAT_FLOOR: &str = "floor: a stat of every file, one core";

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
            let version = if name == "crane" { "version" } else { "--version" };
            let output = measure::output(Command::new(program).arg(version))?;
            text.push_str(&format!(
                "- {name}: {}\n",
                output.lines().next().unwrap_or_default()
            ));
        }
        for (name, why) in UNMEASURED {
            text.push_str(&format!("- {name}: not measured: {why}\n"));
        }
        Ok(text)
    }

    fn builds(
        &self,
        big: &Tree,
        many: &Tree,
        wanted: &dyn Fn(&str) -> bool,
        report: &mut Report,
    ) -> Result<()> {
        if wanted("pack") {
            let promises = [
                Promise {
                    row: "umoci",
                    at_least: 1.8,
                },
                Promise {
                    row: "buildah",
                    at_least: 8.0,
                },
            ];
            report.add(measure::table("Pack `big`, cold", &self.pack(big)?, &promises));
            big.compress("zstd")?;
            let zstd = self.pack_cairn(big);
            big.compress("gzip")?;
            report.add(measure::table("Pack `big`, cold, as zstd", &[zstd?], &[]));
        }
        if wanted("noop") {
            for tree in [many, big] {
                let rows = self.rebuild(tree, |_| Ok(()))?;
                report.add(measure::table(
                    &format!("Build {tree} again, nothing changed"),
                    &rows,
                    &[],
                ));
            }
        }
        if wanted("change") {
            let promises = [Promise {
                row: "buildah",
                at_least: 20.0,
            }];
            let (rows, moved) = self.change(big)?;
            report.add(measure::table(
                "One file of 2 KB changed in `big`, built and pushed",
                &rows,
                &promises,
            ));
            report.add(moved);
        }
        if wanted("cold") {
            report.add(measure::table(
                "Build `big` again, nothing changed but the files' times",
                &self.rebuild(big, |_| big.touch())?,
                &[],
            ));
        }
        if wanted("memory") {
            report.add("\nMost memory at once (VmHWM), cold and again\n\n".to_owned());
            for tree in [big, many] {
                self.forget()?;
                let cold = measure::peak_memory(&mut self.build(tree))?;
                let again = measure::peak_memory(&mut self.build(tree))?;
                report.add(format!(
                    "- {tree}: {} MB, {} MB\n",
                    cold / 1_000_000,
                    again / 1_000_000
                ));
            }
        }
        Ok(())
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

    fn pack_cairn(&self, tree: &Tree) -> Result<Row> {
        let mut row = self
            .runs()
            .measure("cairn build", |_| self.forget(), || self.build(tree))?;
        row.note = format!("{} MB", input::bytes_under(&self.store())? / 1_000_000);
        Ok(row)
    }

    fn pack(&self, tree: &Tree) -> Result<Vec<Row>> {
        let mut rows = vec![self.pack_cairn(tree)?];
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
        rows.push(self.floor("floor: tar alone", "tar -cf - tree", tree)?);
        if is_installed("openssl") {
            rows.push(self.floor(
                "floor: tar and SHA-256 by openssl",
                "tar -cf - tree | openssl dgst -sha256",
                tree,
            )?);
        }
        if is_installed("pigz") {
            rows.push(self.floor(PACK_FLOOR, "tar -cf - tree | pigz -1", tree)?);
        }
        if is_installed("zstd") {
            let script = "tar -cf - tree | zstd -q -3 -T0";
            rows.push(self.floor("floor: tar into zstd -3 on all cores", script, tree)?);
        }
        Ok(rows)
    }

    /// A change that is built and pushed to `cairn serve`, and how many bytes went over for it.
    fn change(&self, tree: &Tree) -> Result<(Vec<Row>, String)> {
        let served = self.work.path.join("served");
        let server = Server::start(
            self.cairn(&self.work.path)
                .args(["serve", "--listen", "127.0.0.1:0", "--store"])
                .arg(&served),
        )?;
        let target = format!("{}/bench/tree", server.host);
        let push = || {
            let mut command = self.shell(
                "\"$CAIRN\" build && \"$CAIRN\" copy bench:built \"$TARGET\"",
                &tree.context,
            );
            self.confine(&mut command);
            command
                .env("CAIRN", &self.cairn)
                .env("TARGET", format!("{target}:1"));
            command
        };
        self.forget()?;
        measure::run(&mut push())?;
        let before = input::bytes_under(&served)?;
        let mut rows = vec![
            self.runs()
                .measure("cairn build, copy", |round| tree.change(round), push)?,
        ];
        let moved = input::bytes_under(&served)?.saturating_sub(before) / self.runs as u64;
        if is_installed("buildah") {
            let script = "b() { buildah --root \"$OUT.root\" --runroot \"$OUT.run\" \"$@\"; }; b bud --layers -q -t bench -f Dockerfile .; b push -q --tls-verify=false bench \"docker://$TARGET\"";
            let command = || {
                let mut command = self.shell(script, &tree.context);
                command.env("TARGET", format!("{target}:peer"));
                command
            };
            measure::run(&mut command())?;
            rows.push(
                self.runs()
                    .measure("buildah", |round| tree.change(round + 1000), command)?,
            );
        }
        measure::remove_file(&tree.context.join("tree/changed.txt"))?;
        Ok((
            rows,
            format!(
                "\nThe registry grew by {} KB for each of Cairn's changes.\n",
                moved / 1000
            ),
        ))
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
        rows.push(self.floor(STAT_FLOOR, "find tree -printf '%s %C@\\n'", tree)?);
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
