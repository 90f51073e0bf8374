//! Registries that others wrote, started and ended by a test: Debian's docker-registry (distribution 2.8),
//! distribution v3, and the one that is in crane.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::http;
use super::peer::Peer;
use crate::harness::Sandbox;

/// A server that runs on a port that was chosen for it. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    host: String,
}

impl Started {
    /// Starts what `command` makes for `127.0.0.1:PORT`. Such servers cannot choose a port themselves, so somebody else may
    /// take the one that was free.
    #[track_caller]
    pub(crate) fn new(mut command: impl FnMut(&str) -> Command) -> Self {
        let started = (0..10).find_map(|_| {
            let host = free_host();
            Self::start_on(command(&host), host)
        });
        started.expect("the server starts on one of ten free ports")
    }

    fn start_on(mut command: Command, host: String) -> Option<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("the server can be started");
        let mut started = Self { child, host };
        started.is_up().then_some(started)
    }

    /// Waits until it answers, if only that it wants TLS or a password, or has given up.
    fn is_up(&mut self) -> bool {
        loop {
            let ended = self.child.try_wait().expect("an own child can be waited for");
            if ended.is_some() {
                return false;
            }
            if http::try_get(&self.host, "/v2/").is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// A repository: `127.0.0.1:PORT/name`.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.child.kill().expect("an own child can be killed");
        self.child.wait().expect("an own child can be waited for");
    }
}

fn free_host() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound port has an address");
    address.to_string()
}

/// A registry that runs.
#[derive(Debug)]
pub(crate) struct DockerRegistry(Started);

impl std::ops::Deref for DockerRegistry {
    type Target = Started;

    fn deref(&self) -> &Started {
        &self.0
    }
}

impl DockerRegistry {
    /// Starts distribution 2.8 with an empty directory in the sandbox; none if it is not installed.
    pub(crate) fn start(sandbox: &Sandbox) -> Option<Self> {
        Self::start_with(sandbox, "")
    }

    /// The same, with more in its configuration, such as who may enter. It goes on in the section `http`.
    pub(crate) fn start_with(sandbox: &Sandbox, configuration: &str) -> Option<Self> {
        Self::start_program("docker-registry", sandbox, configuration)
    }

    /// Starts distribution v3; none if it is not installed.
    pub(crate) fn start_v3(sandbox: &Sandbox) -> Option<Self> {
        Self::start_program("registry", sandbox, "")
    }

    fn start_program(program: &str, sandbox: &Sandbox, more: &str) -> Option<Self> {
        let peer = Peer::find(program, sandbox)?;
        let directory = sandbox.root().join("docker-registry");
        Some(Self(Started::new(|host| {
            let config = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
                 enabled: true\nhttp:\n  addr: {host}\n{more}",
                directory.display()
            );
            let config = sandbox.write("../docker-registry.yml", config);
            let mut command = peer.command(&["serve"]);
            // v3 else looks for a collector of traces.
            command.arg(config).env("OTEL_TRACES_EXPORTER", "none");
            command
        })))
    }
}
