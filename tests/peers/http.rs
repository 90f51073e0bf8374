//! As much of HTTP as it takes to look at a server without Cairn's client.

use std::io::{Read, Write};
use std::net::TcpStream;

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
    let mut connection = TcpStream::connect(host).ok()?;
    connection.set_read_timeout(Some(LIMIT)).ok()?;
    // With HTTP/1.0 the body ends where the connection does.
    write!(
        connection,
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: {}\r\nAccept: {}\r\nAccept: */*\r\n\r\n",
        cairn_oci::media_type::MANIFEST,
        cairn_oci::media_type::INDEX
    )
    .ok()?;
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

/// What a tag or digest of a repository shows.
#[track_caller]
pub(super) fn manifest(host: &str, repository: &str, reference: &str) -> Answer {
    get(host, &format!("/v2/{repository}/manifests/{reference}"))
}
