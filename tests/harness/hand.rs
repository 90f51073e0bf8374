//! Somebody's hand: what `crane tag` and `docker push` do to a tag, with as much of HTTP as that takes.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::LIMIT;

/// Points `tag` at what `from` (a tag or digest) shows, unconditionally, as `crane tag` does.
#[track_caller]
pub(crate) fn tag_by_hand(host: &str, repository: &str, from: &str, tag: &str) {
    let accept = format!(
        "{}, {}",
        cairn_oci::media_type::MANIFEST,
        cairn_oci::media_type::INDEX
    );
    let path = |reference: &str| format!("/v2/{repository}/manifests/{reference}");
    let (head, manifest) = ask(host, &format!("GET {}", path(from)), &[("Accept", &accept)], &[]);
    assert!(head.contains(" 200 "), "{head}");
    let media_type = head
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-type: ")
                .map(str::to_owned)
        })
        .expect("a manifest has a media type");
    let headers = [("Content-Type", &*media_type)];
    let (head, _) = ask(host, &format!("PUT {}", path(tag)), &headers, &manifest);
    assert!(head.contains(" 201 "), "{head}");
}

/// Removes a tag.
#[track_caller]
pub(crate) fn untag_by_hand(host: &str, repository: &str, tag: &str) {
    let (head, _) = ask(
        host,
        &format!("DELETE /v2/{repository}/manifests/{tag}"),
        &[],
        &[],
    );
    assert!(head.contains(" 202 "), "{head}");
}

fn ask(host: &str, request: &str, headers: &[(&str, &str)], body: &[u8]) -> (String, Vec<u8>) {
    let mut connection = TcpStream::connect(host).expect("the server listens");
    connection.set_read_timeout(Some(LIMIT)).expect("a connection");
    let mut text = format!(
        "{request} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    connection.write_all(text.as_bytes()).expect("the server reads");
    connection.write_all(body).expect("the server reads");
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).expect("the server answers");
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head");
    (
        String::from_utf8_lossy(&bytes[..end]).into_owned(),
        bytes[end + 4..].to_vec(),
    )
}
