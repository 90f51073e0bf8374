//! Other people's programs: found, started, stopped.

#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "only tests use this, and each test program a part of it"
)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where the program is. If it is not installed, says that the test is skipped, as CONTRIBUTING.md asks.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([built_tools()])
        .map(|directory| directory.join(program))
        .find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// Where scripts/go-tools.sh builds some: `target/bench-tools`; tests run in `target/<profile>/deps`.
fn built_tools() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(3).unwrap().join("bench-tools")
}

fn skip(reason: &str) {
    println!("skipped: {reason}");
    let Some(list) = std::env::var_os("CAIRN_TEST_SKIPPED").filter(|list| !list.is_empty()) else {
        return;
    };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("registry");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(list)
        .unwrap();
    file.write_all(format!("{test}: {reason}\n").as_bytes()).unwrap();
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

/// A registry of distribution over an empty directory: Debian's docker-registry (2.8), or `registry` (v3).
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
    pub(crate) async fn start(program: &Path) -> Self {
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            if let Some(started) = Self::start_on(program, address).await {
                return started;
            }
        }
        panic!("{} does not start", program.display());
    }

    async fn start_on(program: &Path, address: SocketAddr) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut config = tempfile::NamedTempFile::new_in(directory.path()).unwrap();
        let root = directory.path().join("registry");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\nhttp:\n  addr: {address}\n",
            root.display()
        );
        config.write_all(text.as_bytes()).unwrap();
        let child = Command::new(program)
            .arg("serve")
            .arg(config.path())
            // v3 else looks for a collector of traces.
            .env("OTEL_TRACES_EXPORTER", "none")
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
