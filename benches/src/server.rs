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

    /// The processor time that it took so far: its own and that of all its threads.
    pub fn cpu(&self) -> Result<Duration> {
        let file = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {file}: {error}"))?;
        // Fields 14 and 15 (proc(5)), in hundredths of a second; the name before them may have spaces.
        let after = text.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// The most memory that it had so far, in bytes.
    pub fn peak(&self) -> Result<u64> {
        measure::peak_of(self.child.id()).ok_or_else(|| "the server has ended".to_owned())
    }

    /// Counts its calls of the system from now on; none if that is not allowed here.
    pub fn trace(&self, calls: &str) -> Result<Option<Trace>> {
        let output = self.storage.with_extension("strace");
        let child = Command::new("strace")
            .args(["-f", "-qq", "-e", &format!("trace={calls}"), "-o"])
            .arg(&output)
            .args(["-p", &self.child.id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| format!("cannot run strace: {error}"))?;
        let traced = format!("/proc/{}/status", self.child.id());
        let begin = Instant::now();
        loop {
            let status = fs::read_to_string(&traced).unwrap_or_default();
            if status.contains("TracerPid:\t") && !status.contains("TracerPid:\t0\n") {
                return Ok(Some(Trace { child, output }));
            }
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || begin.elapsed() > PATIENCE {
                let _ = child.kill();
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Forgets everything.
    pub fn empty(&self) -> Result<()> {
        measure::remove(&self.storage.join("docker"))
    }
}

/// strace on a server.
pub struct Trace {
    child: Child,
    output: PathBuf,
}

impl Trace {
    /// Ends it, and gives how many calls there were.
    pub fn calls(mut self) -> Result<usize> {
        // Killed, it would leave the server stopped.
        measure::run(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        let _ = self.child.wait();
        let text = fs::read_to_string(&self.output);
        let text = text.map_err(|error| format!("cannot read {}: {error}", self.output.display()))?;
        // A call that is interrupted by another thread's has two lines.
        Ok(text
            .lines()
            .filter(|line| line.contains("sync") && !line.contains("resumed>"))
            .count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
