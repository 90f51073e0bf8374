//! Running a program to its end, with a limit instead of a hope.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::Output;

/// Longest that anything is waited for. Nothing comes near it; it is there so that a test that hangs fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    let child = spawn(command);
    wait(command, child)
}

/// Runs `command` to its end, with `input` on its stdin.
pub(crate) fn run_with(command: &mut Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    // Who does not want to know closes its end.
    let _unread = stdin.write_all(input.as_bytes());
    drop(stdin);
    wait(command, child)
}

/// Starts `command` with pipes for what it says.
pub(crate) fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

/// Reads what the child says until it ends.
pub(crate) fn wait(command: &Command, mut child: Child) -> Output {
    let stdout = drain(child.stdout.take().expect("a pipe"));
    let stderr = drain(child.stderr.take().expect("a pipe"));
    let (Ok(stdout), Ok(stderr)) = (stdout.recv_timeout(LIMIT), stderr.recv_timeout(LIMIT)) else {
        child.kill().expect("an own child can be killed");
        panic!("{command:?} did not end within {LIMIT:?}");
    };
    let status: ExitStatus = child.wait().expect("an own child can be waited for");
    Output::new(command, status, &stdout, &stderr)
}

/// Everything that comes out of a pipe, once it is closed.
pub(crate) fn drain(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A process that is killed breaks its pipe; what came before counts.
        let _broken = pipe.read_to_end(&mut bytes);
        let _nobody_waits = sender.send(bytes);
    });
    receiver
}
