//! `cairn serve`, started and ended by a test.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::Output;
use super::process::{LIMIT, drain, spawn};

/// A server that runs. Dropped, it is killed; nothing else ever is.
#[derive(Debug)]
pub(crate) struct Server {
    command: Command,
    running: Option<Running>,
    host: String,
}

#[derive(Debug)]
struct Running {
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Server {
    /// Starts `command`, which is a `cairn serve`, and waits for the address that it prints.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = spawn(&mut command);
        let (line, stdout) = first_line(child.stdout.take().expect("a pipe"));
        let stderr = drain(child.stderr.take().expect("a pipe"));
        let running = Running {
            child,
            stdout,
            stderr,
        };
        let mut server = Self {
            command,
            running: Some(running),
            host: String::new(),
        };
        let line = line
            .recv_timeout(LIMIT)
            .unwrap_or_else(|_| panic!("no address within {LIMIT:?}"));
        let line = line.trim_end();
        match line.strip_prefix("http://").or(line.strip_prefix("https://")) {
            Some(host) => server.host.push_str(host),
            None => panic!("{line:?} instead of an address:\n{}", server.wait()),
        }
        server
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// A repository of the server: `127.0.0.1:PORT/name`.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        let running = self.running.as_ref().expect("the server runs");
        running.child.id()
    }

    /// Ends it as a power button does: SIGKILL.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().expect("an own child can be killed");
            running.child.wait().expect("an own child can be waited for");
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process has an id"), signal).expect("an own child can be signalled");
    }

    /// Waits until it ends.
    pub(crate) fn wait(mut self) -> Output {
        let mut running = self.running.take().expect("the server runs");
        let (Ok(stdout), Ok(stderr)) = (
            running.stdout.recv_timeout(LIMIT),
            running.stderr.recv_timeout(LIMIT),
        ) else {
            running.child.kill().expect("an own child can be killed");
            panic!("the server did not end within {LIMIT:?}");
        };
        let status = running.child.wait().expect("an own child can be waited for");
        Output::new(&self.command, status, &stdout, &stderr)
    }

    /// Starts it again on the same store. Its address is another: somebody may have taken the one that it had.
    pub(crate) fn restart(&mut self) {
        self.kill9();
        let mut command = Command::new(self.command.get_program());
        command.args(self.command.get_args()).env_clear();
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        *self = Self::start(command);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The first line, as soon as it is there, and everything after it, once the pipe is closed.
fn first_line(stdout: ChildStdout) -> (Receiver<String>, Receiver<Vec<u8>>) {
    let (first, line) = channel();
    let (sender, rest) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        // A server that is killed breaks its pipe; what came before counts.
        let _broken = reader.read_line(&mut line);
        let _nobody_waits = first.send(line);
        let _nobody_waits = sender.send(drain(reader).recv().unwrap_or_default());
    });
    (line, rest)
}
