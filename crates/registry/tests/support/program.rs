//! Other people's programs: found, started, stopped.

#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "only tests use this, and each test program a part of it"
)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Whether the program is installed. If not, says that the test is skipped.
pub(crate) async fn is_installed(program: &str) -> bool {
    let found = tokio::process::Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Runs a command to its end and returns what it printed.
pub(crate) async fn run(program: &str, arguments: &[&str], home: &Path) -> String {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .output()
        .await
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{program} {arguments:?}:\n{out}{err}");
    out.into_owned()
}

/// Debian's docker-registry (distribution 2.8) over an empty directory.
pub(crate) struct DockerRegistry {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl DockerRegistry {
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// It cannot take a free port by itself, so one is looked for; somebody else may take it first.
    pub(crate) async fn start() -> Self {
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            if let Some(started) = Self::start_on(address).await {
                return started;
            }
        }
        panic!("docker-registry does not start");
    }

    async fn start_on(address: SocketAddr) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut config = tempfile::NamedTempFile::new_in(directory.path()).unwrap();
        let root = directory.path().join("registry");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\nhttp:\n  addr: {address}\n",
            root.display()
        );
        config.write_all(text.as_bytes()).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(config.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut started = Self {
            child,
            address,
            _directory: directory,
        };
        started.is_up().await.then_some(started)
    }

    /// Waits until it listens, or has given up.
    async fn is_up(&mut self) -> bool {
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if tokio::net::TcpStream::connect(self.address).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
