//! Registries for the length of a measurement.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, is_installed, measure};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, which ends when this value goes.
pub struct Server {
    child: Child,
    /// Its address and port.
    pub host: String,
    /// Where its content is.
    pub storage: PathBuf,
}

impl Server {
    /// Starts `cairn serve` by `command`, whose first line on stdout is the server's URL.
    pub fn cairn(command: &mut Command, storage: PathBuf) -> Result<Self> {
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
            storage,
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

    /// Starts the registry of CNCF distribution in `directory`: version 2 as Debian has it (`docker-registry`), or
    /// version 3 (`registry`), on a free port and without logs. It remembers nothing in memory, so that its storage can be emptied under it.
    pub fn distribution(program: &str, directory: &Path) -> Result<Self> {
        if !is_installed(program) {
            return Err(format!("{program} is not installed"));
        }
        let storage = directory.join("storage");
        fs::create_dir_all(&storage)
            .map_err(|error| format!("cannot create {}: {error}", storage.display()))?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
        let host = listener
            .local_addr()
            .map_err(|error| error.to_string())?
            .to_string();
        drop(listener);
        let settings = directory.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '{host}'}}\n",
            storage.display()
        );
        fs::write(&settings, text)
            .map_err(|error| format!("cannot write {}: {error}", settings.display()))?;
        let child = Command::new(program)
            .arg("serve")
            .arg(&settings)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let server = Self { child, host, storage };
        let begin = Instant::now();
        while TcpStream::connect(&server.host).is_err() {
            if begin.elapsed() > PATIENCE {
                return Err(format!("{program} does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Forgets everything.
    pub fn empty(&self) -> Result<()> {
        measure::remove(&self.storage.join("docker"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
