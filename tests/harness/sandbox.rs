//! A place of its own for each test: home, configuration, state, store, and a project.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Normaliser, Output, Project, Server, Tree, binary, run};

/// A directory in which a user lives who has nothing but this program.
#[derive(Debug)]
pub(crate) struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    /// An empty project, no store, no key.
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("cairn-test-")
            .tempdir()
            .expect("a temporary directory");
        let sandbox = Self { root };
        for directory in [sandbox.home(), sandbox.project()] {
            std::fs::create_dir(directory).expect("a directory in an empty one");
        }
        sandbox
    }

    /// The directory that has everything.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The user's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// Where commands are started.
    pub(crate) fn project(&self) -> PathBuf {
        self.root().join("project")
    }

    /// The local store.
    pub(crate) fn store(&self) -> PathBuf {
        self.root().join("store")
    }

    /// What is remembered of ledgers.
    pub(crate) fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    /// The signing key, once it was made.
    pub(crate) fn key(&self) -> PathBuf {
        self.home().join("config/cairn/key.pem")
    }

    /// Writes a file of the project, and its directories.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.project().join(path);
        let parent = path.parent().expect("a file has a directory");
        std::fs::create_dir_all(parent).expect("directories can be made");
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// Writes the spec of `project`, and the application in version `version`.
    pub(crate) fn write_project(&self, project: &Project, version: &str) {
        self.write("cairn.toml", project.spec());
        self.write_app(version);
    }

    /// Writes the application, whose content is its version.
    pub(crate) fn write_app(&self, version: &str) {
        self.write(
            super::APP,
            format!("#!/bin/sh\necho Hello, World! Version {version}\n"),
        );
    }

    /// The program, to be started in the project with an environment that has nothing of the caller's but `PATH`.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments);
        self.confine(&mut command);
        command
    }

    /// Gives a command of whatever program this sandbox's environment and directory.
    pub(crate) fn confine(&self, command: &mut Command) {
        let home = self.home();
        command.env_clear().current_dir(self.project());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &home);
        command.env("XDG_CONFIG_HOME", home.join("config"));
        command.env("XDG_DATA_HOME", home.join("data"));
        command.env("XDG_STATE_HOME", home.join("state"));
        command.env("XDG_CACHE_HOME", home.join("cache"));
        command.env("XDG_RUNTIME_DIR", home.join("run"));
        command.env("CAIRN_STORE", self.store());
        command.env("CAIRN_STATE", self.state());
        command.env("LANG", "C.UTF-8").env("TZ", "UTC");
    }

    /// Runs the program to its end.
    pub(crate) fn cairn<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        run(&mut self.command(arguments))
    }

    /// Serves this sandbox's store on a free port of the loopback interface.
    pub(crate) fn serve(&self) -> Server {
        Server::start(self.command(["serve", "--listen", "127.0.0.1:0"]))
    }

    /// The file of a blob in the local store.
    pub(crate) fn blob(&self, repository: &str, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let blobs = self
            .store()
            .join("repos")
            .join(repository)
            .join("_layout/blobs/sha256");
        blobs.join(hex)
    }

    /// The digest of the first layer of an image.
    pub(crate) fn layer(&self, reference: &str) -> String {
        let image = self.cairn(["--json", "inspect", reference]).ok().json();
        let digest = &image["images"][0]["layers"][0]["digest"];
        digest.as_str().expect("an image has a layer").to_owned()
    }

    /// What a tag of a repository shows.
    pub(crate) fn tagged(&self, reference: &str) -> String {
        let image = self.cairn(["--json", "inspect", reference]).ok().json();
        image["digest"]
            .as_str()
            .expect("an image has a digest")
            .to_owned()
    }

    /// Flips one bit of a blob in the local store, as a bad disk does.
    pub(crate) fn spoil_blob(&self, repository: &str, digest: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.blob(repository, digest);
        let mut bytes = std::fs::read(&path).expect("the blob is there");
        *bytes.last_mut().expect("a blob is not empty") ^= 1;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("an own file");
        std::fs::write(&path, bytes).expect("a file can be written");
    }

    /// What is in the store now.
    pub(crate) fn store_tree(&self) -> Tree {
        Tree::read(&self.store())
    }

    /// Texts without this sandbox's paths, ports and times.
    pub(crate) fn normaliser(&self) -> Normaliser {
        Normaliser::new(self.root())
    }
}
