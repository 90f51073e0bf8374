//! `cairn serve` for the length of a measurement.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Result;

/// A running server, which ends when this value goes.
pub struct Server {
    child: Child,
    /// Its address and port.
    pub host: String,
}

impl Server {
    /// Starts `command`, whose first line on stdout is the server's URL.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run {command:?}: {error}"))?;
        let mut line = String::new();
        let read = child
            .stdout
            .take()
            .map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let mut server = Self {
            child,
            host: String::new(),
        };
        match (read, line.trim().strip_prefix("http://")) {
            (Some(Ok(_)), Some(host)) => server.host = host.trim_end_matches('/').to_owned(),
            _ => {
                return Err(format!(
                    "{command:?} did not say where it listens, but `{}`",
                    line.trim()
                ));
            }
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
