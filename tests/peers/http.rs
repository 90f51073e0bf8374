//! As much of HTTP as it takes to look at a server without Cairn's client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::harness::LIMIT;

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The body of a success, as JSON.
    #[track_caller]
    pub(super) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).expect("a JSON document")
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks `host`, such as `127.0.0.1:5000`. None if nobody answers.
pub(super) fn try_get(host: &str, path: &str) -> Option<Answer> {
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: {}\r\nAccept: {}\r\nAccept: */*\r\n\r\n",
        cairn_oci::media_type::MANIFEST,
        cairn_oci::media_type::INDEX
    );
    try_ask(host, &request)
}

/// Sends a request of HTTP/1.0: the answer's body ends where the connection does.
fn try_ask(host: &str, request: &str) -> Option<Answer> {
    let mut connection = TcpStream::connect(host).ok()?;
    connection.set_read_timeout(Some(LIMIT)).ok()?;
    connection.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).ok()?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        body: bytes[end + 4..].to_vec(),
    })
}

/// Asks a server that is there.
#[track_caller]
pub(super) fn get(host: &str, path: &str) -> Answer {
    try_get(host, path).unwrap_or_else(|| panic!("no answer to {path} from {host}"))
}

/// What a server that is about to start says to `GET`, which must be a success. `logs` tells what the server says elsewhere.
#[track_caller]
pub(super) fn wait_for(host: &str, path: &str, logs: impl Fn() -> String) -> String {
    let begin = Instant::now();
    let answer = loop {
        if let Some(answer) = try_get(host, path) {
            break answer;
        }
        assert!(begin.elapsed() < LIMIT, "no answer; it says: {}", logs());
        std::thread::yield_now();
    };
    assert_eq!(answer.status, 200, "{}", logs());
    answer.text()
}

/// Puts a text at a path that nothing is at yet.
#[track_caller]
pub(super) fn put(host: &str, path: &str, text: &str) {
    let head = format!(
        "PUT {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    let answer = try_ask(host, &(head + text)).expect("the server answers");
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// What a tag or digest of a repository shows.
#[track_caller]
pub(super) fn manifest(host: &str, repository: &str, reference: &str) -> Answer {
    get(host, &format!("/v2/{repository}/manifests/{reference}"))
}
