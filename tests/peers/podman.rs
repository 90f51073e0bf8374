//! podman, with every directory in a sandbox (`tests/podman/README.md`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::hello::Hello;
use super::http;
use super::peer::Peer;
use crate::harness::{LIMIT, Output, Sandbox, run, skip, tool, workspace};

/// podman, known to be able to run containers here.
#[derive(Debug)]
pub(super) struct Podman<'a> {
    peer: Peer<'a>,
    directory: PathBuf,
    driver: &'static str,
    /// The file that `CONTAINERS_CONF` names; without it, the machine's own settings hold.
    settings: Option<PathBuf>,
}

impl<'a> Podman<'a> {
    /// None if it is not installed or cannot run any container here, and then the test is skipped.
    pub(super) fn find(sandbox: &'a Sandbox) -> Option<Self> {
        Self::find_with(sandbox, &["vfs"])
    }

    /// The same for images of many layers: vfs would copy all lower ones for each, so layers are mounted where that can be.
    pub(super) fn find_for_many_layers(sandbox: &'a Sandbox) -> Option<Self> {
        Self::find_with(sandbox, &["overlay", "vfs"])
    }

    fn find_with(sandbox: &'a Sandbox, drivers: &[&'static str]) -> Option<Self> {
        tool("podman")?;
        let settings = workspace().join("tests/podman/containers.conf");
        let mut refusal = String::new();
        for driver in drivers {
            // A store remembers its driver.
            let directory = sandbox.root().join("podman").join(driver);
            for part in ["root", "run", "tmp", "net"] {
                std::fs::create_dir_all(directory.join(part)).expect("a directory in an own one");
            }
            let mut podman = Self {
                peer: Peer::find("podman", sandbox)?,
                directory,
                driver,
                settings: None,
            };
            let program = podman.probe_program();
            for settings in [Some(settings.clone()), None] {
                podman.settings = settings;
                match podman.probe(&program) {
                    Ok(()) => return Some(podman),
                    Err(error) => refusal = error,
                }
            }
        }
        skip(&format!("podman cannot run a container here: {refusal}"));
        None
    }

    /// Whether each layer costs no more than what is in it.
    pub(super) fn mounts_layers(&self) -> bool {
        self.driver == "overlay"
    }

    /// A root file system with nothing but a static program: no image of Cairn's is in it, so that a broken one can
    /// never be the reason to skip.
    fn probe_program(&self) -> PathBuf {
        let sandbox = Sandbox::new();
        let built = Hello::write(&sandbox).build();
        let directory = self.directory.join("probe");
        std::fs::create_dir_all(&directory).expect("a directory in an own one");
        std::fs::copy(built, directory.join("hello")).expect("a binary can be copied");
        directory
    }

    fn probe(&self, program: &Path) -> Result<(), String> {
        let program = program.to_str().expect("a path of letters");
        let output = self.run_detached("probe", &["--rootfs", program, "/hello"]);
        drop(self.container("probe"));
        if output.code == Some(0) {
            return Ok(());
        }
        Err(output.stderr.lines().last().unwrap_or_default().to_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.peer.command(&["--storage-driver", self.driver]);
        for (option, part) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
            ("--network-config-dir", "net"),
        ] {
            command.arg(option).arg(self.directory.join(part));
        }
        if let Some(settings) = &self.settings {
            command.env("CONTAINERS_CONF", settings);
        }
        command.args(arguments);
        command
    }

    /// A directory with a program `podman` that uses this sandbox's store.
    pub(super) fn program(&self) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let command = self.command(&[]);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
        let settings = self.settings.iter();
        let settings: String = settings
            .map(|settings| format!("export CONTAINERS_CONF='{}'\n", settings.display()))
            .collect();
        let directory = self.directory.join("bin");
        std::fs::create_dir_all(&directory).expect("a directory in an own one");
        let script = format!("#!/bin/sh\n{settings}exec {} \"$@\"\n", words.join(" "));
        let program = directory.join("podman");
        std::fs::write(&program, script).expect("a file can be written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("an own file");
        directory
    }

    /// Runs podman to its end.
    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(arguments))
    }

    /// Runs an image to its end: what its program says.
    pub(super) fn run_image(&self, image: &str) -> Output {
        self.run(&["run", "--rm", "--network", "host", "--tls-verify=false", image])
    }

    /// Runs the Pod of a manifest (`podman play kube`), with the network of this machine; one of its name is replaced.
    #[track_caller]
    pub(super) fn play(&self, manifest: &Path) -> Pod<'_> {
        self.import_pause();
        let manifest = manifest.to_str().expect("a path of letters");
        let pod = Pod {
            podman: self,
            manifest: manifest.to_owned(),
        };
        let options = [
            "play",
            "kube",
            "--replace",
            "--network",
            "host",
            "--tls-verify=false",
        ];
        self.run(&[options.as_slice(), &[manifest]].concat()).ok();
        pod
    }

    /// The image of the container that each Pod has for itself: tests/podman/README.md.
    fn import_pause(&self) {
        let archive = self.directory.join("pause.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&archive).expect("an own file"));
        let probe = self.directory.join("probe/hello");
        tar.append_path_with_name(probe, "hello")
            .expect("the program is there");
        tar.finish().expect("an own file");
        let archive = archive.to_str().expect("a path of letters");
        let changes = ["ENTRYPOINT [\"/hello\"]", "ENV ADDRESS=127.0.0.1", "ENV PORT=0"];
        let changes: Vec<_> = changes.iter().flat_map(|change| ["--change", *change]).collect();
        self.run(
            &[
                &["import"],
                changes.as_slice(),
                &[archive, "localhost/cairn-tests-pause:1"],
            ]
            .concat(),
        )
        .ok();
    }

    fn run_detached(&self, name: &str, what: &[&str]) -> Output {
        self.run_detached_at(name, "0", what)
    }

    fn run_detached_at(&self, name: &str, port: &str, what: &[&str]) -> Output {
        let options = [
            "run",
            "--detach",
            "--network",
            "host",
            "--tls-verify=false",
            "--pull",
            if what[0].starts_with("localhost/") {
                "never"
            } else {
                "always"
            },
        ];
        let port = format!("PORT={port}");
        let environment = ["--env", "ADDRESS=127.0.0.1", "--env", &port];
        self.run(
            &[
                options.as_slice(),
                &environment,
                ["--name", name].as_slice(),
                what,
            ]
            .concat(),
        )
    }

    fn container(&self, name: &str) -> Container<'_> {
        Container {
            podman: self,
            name: name.to_owned(),
        }
    }

    /// Starts the server that is in an image.
    #[track_caller]
    pub(super) fn start(&self, name: &str, image: &str) -> Container<'_> {
        // Whatever comes of it, it is removed.
        let container = self.container(name);
        self.run_detached(name, &[image]).ok();
        container
    }

    /// Starts the server that is in an image, upon a root file system that nobody can write to.
    #[track_caller]
    pub(super) fn start_read_only(&self, name: &str, image: &str) -> Container<'_> {
        let container = self.container(name);
        self.run_detached(name, &["--read-only", "--read-only-tmpfs=false", image])
            .ok();
        container
    }

    /// Starts the server that is in an image, on a port that is chosen for it, with arguments of its own.
    #[track_caller]
    pub(super) fn start_at(
        &self,
        name: &str,
        image: &str,
        port: &str,
        arguments: &[String],
    ) -> Container<'_> {
        let container = self.container(name);
        let what: Vec<_> = [image]
            .into_iter()
            .chain(arguments.iter().map(String::as_str))
            .collect();
        self.run_detached_at(name, port, &what).ok();
        container
    }
}

/// A Pod that runs. Dropped, it is removed; volumes that were claimed by name stay.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    podman: &'a Podman<'a>,
    manifest: String,
}

impl<'a> Pod<'a> {
    /// A container of it, by the names of both: `POD-CONTAINER`.
    pub(super) fn container(&self, name: &str) -> Container<'a> {
        self.podman.container(name)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        self.podman.run(&["play", "kube", "--down", &self.manifest]);
    }
}

impl Drop for Podman<'_> {
    /// Files of a container that root does not run belong to other users, and only podman can remove them.
    fn drop(&mut self) {
        if !rustix::process::geteuid().is_root() {
            let mut command = self.command(&["unshare", "rm", "-rf"]);
            run(command.arg(&self.directory));
        }
    }
}

/// A container that was started. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Container<'a> {
    podman: &'a Podman<'a>,
    name: String,
}

impl Container<'_> {
    /// What the server in it answers to `GET /`.
    #[track_caller]
    pub(super) fn answer(&self) -> String {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            let logs = self.podman.run(&["logs", &self.name]).ok();
            if let Some(host) = logs
                .stdout
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("http://"))
            {
                return http::get(host, "/").text();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the container did not say where it listens");
    }

    /// What it has said so far, on both of its outputs.
    pub(super) fn logs(&self) -> String {
        let logs = self.podman.run(&["logs", &self.name]);
        logs.stdout + &logs.stderr
    }

    /// Runs a program in it, as root.
    pub(super) fn exec(&self, command: &[&str]) -> Output {
        self.podman
            .run(&[&["exec", "--user", "0:0", self.name.as_str()], command].concat())
    }

    /// Who its program runs as, by numbers.
    #[track_caller]
    pub(super) fn user(&self) -> String {
        let format = ["inspect", "--format", "{{.Config.User}}", &self.name];
        self.podman.run(&format).ok().line().to_owned()
    }

    /// The digest of the image that runs in it.
    #[track_caller]
    pub(super) fn digest(&self) -> String {
        let format = ["inspect", "--format", "{{.ImageDigest}}", &self.name];
        self.podman.run(&format).ok().digest()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.podman
            .run(&["rm", "--force", "--ignore", "--time", "0", &self.name]);
    }
}
