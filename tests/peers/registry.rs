//! Debian's docker-registry (distribution 2.8), started and ended by a test.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use super::http;
use super::peer::Peer;
use crate::harness::Sandbox;

/// A registry that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct DockerRegistry {
    child: Child,
    host: String,
}

impl DockerRegistry {
    /// Starts one with an empty directory in the sandbox; none if it is not installed.
    pub(super) fn start(sandbox: &Sandbox) -> Option<Self> {
        Self::start_with(sandbox, "")
    }

    /// The same, with more in its configuration, such as who may enter.
    pub(super) fn start_with(sandbox: &Sandbox, configuration: &str) -> Option<Self> {
        let peer = Peer::find("docker-registry", sandbox)?;
        // It cannot choose a port itself, so somebody else may take the one that was free.
        let started = (0..10).find_map(|_| Self::start_on(&free_host(), &peer, sandbox, configuration));
        Some(started.expect("docker-registry starts on one of ten free ports"))
    }

    fn start_on(host: &str, peer: &Peer, sandbox: &Sandbox, more: &str) -> Option<Self> {
        let directory = sandbox.root().join("docker-registry");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\nhttp:\n  addr: {host}\n{more}",
            directory.display()
        );
        let config = sandbox.write("../docker-registry.yml", config);
        let mut command = peer.command(&["serve"]);
        command
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry can be started");
        let mut started = Self {
            child,
            host: host.to_owned(),
        };
        started.is_up().then_some(started)
    }

    /// Waits until it answers or has given up.
    fn is_up(&mut self) -> bool {
        loop {
            let ended = self.child.try_wait().expect("an own child can be waited for");
            if ended.is_some() {
                return false;
            }
            if http::try_get(&self.host, "/v2/").is_some_and(|answer| matches!(answer.status, 200 | 401)) {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// `127.0.0.1:PORT`
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// A repository: `127.0.0.1:PORT/name`.
    pub(super) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }
}

impl Drop for DockerRegistry {
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
