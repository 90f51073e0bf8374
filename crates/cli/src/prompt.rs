//! Questions to the person at the terminal.
//!
//! They are asked at `/dev/tty`: stdout is data, and stdin may be somebody else's.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::oneshot;

use crate::failure::{Exit, Failure};

/// Longest answer, in bytes (64 KiB): what a token can be.
pub const LIMIT: usize = 64 << 10;

/// Asks for a line.
///
/// # Errors
///
/// When there is no terminal, or nobody answers.
pub async fn line(question: &str) -> Result<String, Failure> {
    let terminal = open()?;
    ask(&terminal, question).await
}

/// Asks for a line that is not shown while it is typed.
///
/// # Errors
///
/// When there is no terminal, or nobody answers.
pub async fn secret(question: &str) -> Result<String, Failure> {
    let terminal = open()?;
    let _hidden = Hidden::begin(&terminal).map_err(|error| failed(&error))?;
    ask(&terminal, question).await
}

/// All of stdin, without the end of its last line.
///
/// # Errors
///
/// When it cannot be read, is empty or too long, or is no text of one line.
pub async fn stdin() -> Result<String, Failure> {
    let bytes = beside(|| {
        let mut bytes = Vec::new();
        let stdin = io::stdin().lock();
        stdin.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = bytes
        .await
        .map_err(|error| Failure::new(Exit::Environment, format!("cannot read stdin: {error}")))?;
    secret_of(bytes).map_err(|text| Failure::new(Exit::Input, text))
}

fn secret_of(bytes: Vec<u8>) -> Result<String, &'static str> {
    if bytes.len() > LIMIT {
        return Err("stdin has more than 65536 bytes: that is no password");
    }
    let text = String::from_utf8(bytes).map_err(|_| "stdin is no text")?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("stdin is empty: the password is expected there");
    }
    if text.contains(char::is_control) {
        return Err("stdin has several lines, or control characters: that is no password");
    }
    Ok(text.to_owned())
}

fn failed(error: &io::Error) -> Failure {
    Failure::new(Exit::Environment, format!("cannot ask at the terminal: {error}"))
}

fn open() -> Result<File, Failure> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|error| failed(&error))
}

async fn ask(terminal: &File, question: &str) -> Result<String, Failure> {
    let mut writer = terminal;
    writer
        .write_all(question.as_bytes())
        .map_err(|error| failed(&error))?;
    let reader = terminal.try_clone().map_err(|error| failed(&error))?;
    let answer = beside(move || {
        let mut line = String::new();
        BufReader::new(reader.take(LIMIT as u64)).read_line(&mut line)?;
        Ok(line)
    });
    let line = answer.await.map_err(|error| failed(&error))?;
    match line.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::new(Exit::Input, "nothing was typed")),
        line => Ok(line.to_owned()),
    }
}

/// Waits for something that blocks, in a thread that nobody waits for at the end of the program: a signal ends it while
/// the question is still open.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        let _nobody_waits = sender.send(work());
    })?;
    receiver.await.map_err(io::Error::other)?
}

/// A terminal that shows nothing of what is typed. Dropped, also by a signal, it is as before.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn begin(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _gone = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_is_one_line() {
        let secret = |text: &str| secret_of(text.as_bytes().to_vec());
        for text in ["a b:c", "a b:c\n", "a b:c\r\n"] {
            assert_eq!(secret(text).as_deref(), Ok("a b:c"));
        }
        for text in ["", "\n", "a\nb", "a\n\n", "a\0", "\x1b[A"] {
            assert!(secret(text).is_err(), "{text:?}");
        }
        assert!(secret_of(vec![0xff]).is_err());
        assert!(secret_of(vec![b'a'; LIMIT + 1]).is_err());
    }
}
