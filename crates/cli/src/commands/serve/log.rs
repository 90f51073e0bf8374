//! What the server says of its requests, on stderr.

use std::io::Write;

use cairn_oci::json;
use cairn_registry::server::{AccessLog, AccessRecord};
use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use crate::escape::escape;
use crate::failure::{Exit, Failure};

/// How requests are written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Not at all; the store's failures are.
    #[default]
    Off,
    /// A line of words for each.
    Text,
    /// A JSON document in a line for each.
    Json,
}

/// Writes to stderr.
#[derive(Debug)]
pub struct Log {
    format: Format,
    now: fn() -> Timestamp,
}

/// A line of the log. There is no query in it, and no header: nothing that could be a secret.
#[derive(Serialize)]
struct Line<'r> {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'r str>,
    method: &'r str,
    path: &'r str,
    endpoint: &'r str,
    status: u16,
    received: u64,
    sent: u64,
    milliseconds: u64,
}

impl Log {
    /// A log whose lines have the time that `now` says.
    pub fn new(format: Format, now: fn() -> Timestamp) -> Self {
        Self { format, now }
    }

    fn line(&self, record: &AccessRecord) -> Option<String> {
        let AccessRecord {
            method,
            path,
            status,
            received,
            sent,
            ..
        } = record;
        match self.format {
            Format::Off => None,
            Format::Text => Some(format!(
                "{} {} {status} in={received} out={sent}",
                escape(method),
                escape(path)
            )),
            Format::Json => {
                let line = Line {
                    time: (self.now)().to_string(),
                    peer: record.peer.map(|peer| peer.to_string()),
                    user: record.user.as_deref(),
                    method,
                    path,
                    endpoint: record.endpoint,
                    status: *status,
                    received: *received,
                    sent: *sent,
                    milliseconds: u64::try_from(record.elapsed.as_millis()).unwrap_or(u64::MAX),
                };
                Some(String::from_utf8_lossy(&json::canonical(&line)).into_owned())
            }
        }
    }
}

impl AccessLog for Log {
    fn request(&self, record: &AccessRecord) {
        if let Some(line) = self.line(record) {
            write(&line);
        }
    }

    fn failure(&self, error: &(dyn std::error::Error + 'static)) {
        let failure = Failure::of(Exit::Environment, error);
        write(failure.to_string().trim_end());
    }
}

fn write(text: &str) {
    // A log that cannot be written must not stop the server.
    let _unheard = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record() -> AccessRecord {
        AccessRecord {
            method: "GET".to_owned(),
            path: "/v2/a\u{1b}[2J\"\n".to_owned(),
            endpoint: "other",
            user: Some("ann".to_owned()),
            peer: Some(([127, 0, 0, 1], 1234).into()),
            status: 404,
            received: 0,
            sent: 12,
            elapsed: Duration::from_millis(7),
        }
    }

    #[test]
    fn a_request_is_one_line_whatever_its_path_is() {
        let line = |format| Log::new(format, || Timestamp::UNIX_EPOCH).line(&record());
        assert_eq!(line(Format::Off), None);
        assert_eq!(
            line(Format::Text).unwrap(),
            "GET /v2/a\\x1b[2J\"\\n 404 in=0 out=12"
        );
        assert_eq!(
            line(Format::Json).unwrap(),
            concat!(
                r#"{"endpoint":"other","method":"GET","milliseconds":7,"path":"/v2/a\u001b[2J\"\n","peer":"127.0.0.1:1234","#,
                r#""received":0,"sent":12,"status":404,"time":"1970-01-01T00:00:00Z","user":"ann"}"#
            )
        );
    }
}
