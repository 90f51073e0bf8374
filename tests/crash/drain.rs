//! F12: a server that is asked to stop finishes what it has begun, and takes nothing new.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use cairn_oci::Digest;
use rustix::process::Signal;

use crate::harness::{LIMIT, Sandbox, Server};

/// Sends what is given, and reads the head of the answer.
fn ask(connection: &mut TcpStream, request: &[u8]) -> String {
    connection.write_all(request).unwrap();
    answer(connection)
}

fn answer(connection: &mut TcpStream) -> String {
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
    line.and_then(|line| line.split_once(": ")).expect("the header").1
}

/// Begins an upload of `bytes` and sends the first half of them.
fn begin(server: &Server, bytes: &[u8]) -> TcpStream {
    let host = server.host();
    let mut connection = TcpStream::connect(host).unwrap();
    let begun = ask(
        &mut connection,
        format!("POST /v2/drain/blobs/uploads/ HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n")
            .as_bytes(),
    );
    assert!(begun.starts_with("HTTP/1.1 202"), "{begun}");
    let location = header(&begun, "location");
    let path = location.strip_prefix(&server.url()).unwrap_or(location);
    let separator = if path.contains('?') { '&' } else { '?' };
    let head = format!(
        "PUT {path}{separator}digest={} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\
         content-type: application/octet-stream\r\n\r\n",
        Digest::of(bytes),
        bytes.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&bytes[..bytes.len() / 2]).unwrap();
    connection
}

/// Waits until the server takes no more connections: then it has heard the signal.
fn closed(host: &str) {
    let started = Instant::now();
    while TcpStream::connect(host).is_ok() {
        assert!(started.elapsed() < LIMIT, "the server goes on");
        std::thread::yield_now();
    }
}

fn drains(signal: Signal) {
    let sandbox = Sandbox::new();
    let server = sandbox.serve();
    let bytes = vec![7; 1 << 20];
    let mut upload = begin(&server, &bytes);
    server.signal(signal);
    closed(server.host());
    upload.write_all(&bytes[bytes.len() / 2..]).unwrap();
    let done = answer(&mut upload);
    assert!(done.starts_with("HTTP/1.1 201"), "{done}");
    server.wait().ok();
    let kept = std::fs::read(sandbox.blob("drain", &Digest::of(&bytes).to_string())).unwrap();
    assert_eq!(kept, bytes);
}

#[test]
fn f12_terminated_server_finishes_an_upload() {
    drains(Signal::TERM);
}

#[test]
fn f12_interrupted_server_finishes_an_upload() {
    drains(Signal::INT);
}

#[test]
fn an_idle_connection_does_not_keep_the_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve();
    let host = server.host().to_owned();
    let mut idle = TcpStream::connect(&host).unwrap();
    let ping = ask(
        &mut idle,
        format!("GET /v2/ HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes(),
    );
    assert!(ping.starts_with("HTTP/1.1 200"), "{ping}");
    server.signal(Signal::TERM);
    server.wait().ok();
}
