//! One spec, built in every way that must not show: each row of the table gives the bytes of the first.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::harness::{Random, Sandbox, binary, run, skip, tool};

mod files;

use files::Files;
pub(crate) use files::SITE;

/// A sandbox with the project laid out in it, and how it is built.
struct Machine {
    sandbox: Sandbox,
    project: PathBuf,
    files: Files,
    umask: &'static str,
    environment: Vec<(&'static str, String)>,
    arguments: Vec<&'static str>,
    /// What the shell starts instead of the program: a program and its arguments, and the program after them.
    starter: Vec<String>,
}

/// What a build leaves.
#[derive(Debug, PartialEq, Eq)]
struct Bytes {
    digest: String,
    lock: String,
    blobs: Vec<PathBuf>,
}

impl Machine {
    /// Nothing laid out yet.
    fn new() -> Self {
        let sandbox = Sandbox::new();
        Self {
            project: sandbox.project(),
            sandbox,
            files: Files::site(),
            umask: "022",
            environment: Vec::new(),
            arguments: Vec::new(),
            starter: Vec::new(),
        }
    }

    fn environment(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    fn jobs(mut self, count: &'static str) -> Self {
        self.arguments = vec!["--jobs", count];
        self
    }

    fn umask(mut self, umask: &'static str) -> Self {
        self.umask = umask;
        self
    }

    /// Files are made in this order, which is that of the directory on some file systems.
    fn shuffled(mut self) -> Self {
        self.files.shuffle(&mut Random::new());
        self
    }

    fn at(mut self, project: PathBuf) -> Self {
        self.project = project;
        self
    }

    fn lay_out(self) -> Self {
        std::fs::create_dir_all(&self.project).unwrap();
        self.files.write(&self.project);
        self
    }

    fn build(&self) -> Bytes {
        let mut shell = Command::new("sh");
        self.sandbox.confine(&mut shell);
        shell
            .current_dir(&self.project)
            .envs(self.environment.iter().cloned());
        shell
            .args(["-c", &format!("umask {}; exec \"$@\"", self.umask), "sh"])
            .args(&self.starter);
        if self.starter.is_empty() {
            shell.arg(binary());
        }
        shell.arg("build").args(&self.arguments);
        let digest = run(&mut shell).ok().digest();
        Bytes {
            digest,
            lock: std::fs::read_to_string(self.project.join("cairn.lock")).unwrap(),
            blobs: {
                let tree = self.sandbox.store_tree();
                tree.files("blobs").into_iter().map(Path::to_owned).collect()
            },
        }
    }

    /// Deletes every second file of what is kept for the next build, in the user's cache and in the store.
    fn halve_caches(&self) {
        let caches = [
            self.sandbox.home().join("cache"),
            self.sandbox.store().join("cache"),
        ];
        let deleted: usize = caches.iter().map(|cache| every_second(cache)).sum();
        assert!(deleted > 0, "there is a cache to halve");
    }
}

fn expected() -> Bytes {
    Machine::new().lay_out().build()
}

#[test]
fn a6_nothing_of_a_machine_shows_in_the_bytes() {
    let expected = expected();
    let long = "a/long/path with spaces/".repeat(8);
    let rows: Vec<(&str, Machine)> = vec![
        ("again", Machine::new()),
        ("one thread", Machine::new().jobs("1")),
        ("two threads", Machine::new().jobs("2")),
        ("eight threads", Machine::new().jobs("8")),
        ("umask 000", Machine::new().umask("000")),
        ("umask 077", Machine::new().umask("077")),
        ("a time zone", Machine::new().environment("TZ", "Asia/Kathmandu")),
        (
            "a locale with other letters",
            Machine::new()
                .environment("LANG", "tr_TR.UTF-8")
                .environment("LC_ALL", "tr_TR.UTF-8"),
        ),
        ("the locale C", Machine::new().environment("LC_ALL", "C")),
        ("another order", Machine::new().shuffled()),
        ("yet another order", Machine::new().shuffled()),
        (
            "another user's name",
            Machine::new().environment("USER", "somebody"),
        ),
        ("a narrow terminal", Machine::new().environment("COLUMNS", "20")),
        ("another path", {
            let machine = Machine::new();
            let project = machine.sandbox.root().join(long);
            machine.at(project)
        }),
        ("another home", {
            let machine = Machine::new();
            let home = machine.sandbox.root().join("elsewhere");
            std::fs::create_dir(&home).unwrap();
            let home = home.display().to_string();
            machine.environment("HOME", &home).environment("TMPDIR", &home)
        }),
    ];
    for (name, machine) in rows {
        assert_eq!(machine.lay_out().build(), expected, "row: {name}");
    }
}

#[test]
fn a6_modes_and_times_of_a_checkout_do_not_show() {
    let expected = expected();
    for (name, modes) in [
        ("private", (0o600, 0o700)),
        ("for the group", (0o664, 0o775)),
        ("for all", (0o666, 0o777)),
    ] {
        let machine = Machine::new().lay_out();
        for (path, executable) in machine.files.paths() {
            let file = machine.project.join(path);
            let mode = modes.0 | if executable { modes.1 & 0o111 } else { 0 };
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            touch(&file, 1);
            for above in file.ancestors().skip(1).take_while(|up| *up != machine.project) {
                std::fs::set_permissions(above, std::fs::Permissions::from_mode(modes.1)).unwrap();
            }
        }
        assert_eq!(machine.build(), expected, "row: {name}");
    }
}

#[test]
fn a6_no_state_of_the_cache_shows() {
    let expected = expected();
    let machine = Machine::new().lay_out();
    assert_eq!(machine.build(), expected, "row: cold");
    assert_eq!(machine.build(), expected, "row: warm");
    machine.halve_caches();
    assert_eq!(machine.build(), expected, "row: half deleted");
    for (path, _) in machine.files.paths() {
        touch(&machine.project.join(path), 86_400);
    }
    assert_eq!(machine.build(), expected, "row: touched");
    machine.halve_caches();
    for (path, _) in machine.files.paths() {
        touch(&machine.project.join(path), 2 * 86_400);
    }
    assert_eq!(machine.build(), expected, "row: touched and half deleted");
    std::fs::remove_dir_all(machine.sandbox.home().join("cache")).unwrap();
    assert_eq!(machine.build(), expected, "row: the user's cache deleted");
    std::fs::remove_dir_all(machine.sandbox.store()).unwrap();
    assert_eq!(machine.build(), expected, "row: store deleted");
}

/// `SOURCE_DATE_EPOCH` is read when the lock is made, and nowhere else.
#[test]
fn a6_the_date_of_the_environment_does_not_show_once_there_is_a_lock() {
    let expected = expected();
    for date in ["0", "1700000000", "4102444800"] {
        let machine = Machine::new().environment("SOURCE_DATE_EPOCH", date).lay_out();
        std::fs::write(machine.project.join("cairn.lock"), &expected.lock).unwrap();
        assert_eq!(machine.build(), expected, "row: {date}");
    }
    let machine = Machine::new()
        .environment("SOURCE_DATE_EPOCH", "1700000000")
        .lay_out();
    assert_ne!(
        machine.build().lock,
        expected.lock,
        "it is read when the lock is made"
    );
}

#[test]
fn a6_a_file_system_in_memory_gives_the_same() {
    let shm = Path::new("/dev/shm");
    let Ok(directory) = tempfile::Builder::new().prefix("cairn-test-").tempdir_in(shm) else {
        skip("/dev/shm cannot be written to");
        return;
    };
    let expected = expected();
    let machine = Machine::new().at(directory.path().join("project"));
    assert_eq!(
        machine.shuffled().lay_out().build(),
        expected,
        "row: tmpfs, shuffled"
    );
}

#[test]
fn a6_another_user_gives_the_same() {
    let Some(setpriv) = tool("setpriv") else { return };
    if !rustix::process::geteuid().is_root() {
        skip("only root becomes another user");
        return;
    }
    let expected = expected();
    let mut machine = Machine::new().lay_out();
    // The user may see neither this workspace nor what root made.
    let root = machine.sandbox.root().to_owned();
    let program = root.join("cairn");
    std::fs::copy(binary(), &program).unwrap();
    run(Command::new("chown").args(["-R", "65534:65534"]).arg(&root)).ok();
    let words = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    machine.starter = std::iter::once(setpriv.display().to_string())
        .chain(words.map(str::to_owned))
        .chain([program.display().to_string()])
        .collect();
    assert_eq!(machine.build(), expected, "row: nobody");
}

/// Gives a file a time that many seconds before a fixed one.
fn touch(file: &Path, before: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 - before);
    std::fs::File::open(file).unwrap().set_modified(time).unwrap();
}

/// Deletes every second file below `directory`, and says how many; none if it is not there.
fn every_second(directory: &Path) -> usize {
    if !directory.exists() {
        return 0;
    }
    let mut all = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                all.push(path);
            }
        }
    }
    all.sort();
    let victims: Vec<_> = all.iter().step_by(2).collect();
    for victim in &victims {
        std::fs::remove_file(victim).unwrap();
    }
    victims.len()
}
