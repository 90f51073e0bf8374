//! Programs that are asked something: it goes to their stdin, and what they say is read to its end, or to a limit.

use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// At most one byte more than is allowed.
    pub stdout: Vec<u8>,
    /// The same.
    pub stderr: Vec<u8>,
}

/// Starts `command`, gives it `input`, and hears it out. A stream that says more than `limit` bytes has nobody who listens any
/// more. The program ends with the future.
///
/// # Errors
///
/// Why it cannot be started, or heard.
pub async fn ask(mut command: Command, input: &[u8], limit: u64) -> io::Result<Said> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let say = async {
        if let Some(mut stdin) = stdin {
            // Who fails at once, or knows without being asked, does not read.
            let _unread = stdin.write_all(input).await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(say, hear(stdout, limit), hear(stderr, limit));
    let (stdout, stderr) = (stdout?, stderr?);
    Ok(Said {
        status: child.wait().await?,
        stdout,
        stderr,
    })
}

async fn hear(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(limit + 1).read_to_end(&mut heard).await?;
    }
    Ok(heard)
}
