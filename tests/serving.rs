//! `cairn serve` as an operator sees it.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::harness::{Sandbox, Server};

/// Sends a `GET` as it is and reads to the end of the connection.
fn get(host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(host).expect("the server listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn f13_the_access_log_is_json_without_queries() {
    let sandbox = Sandbox::new();
    sandbox.write("serve.toml", "[operation]\naccess-log = \"json\"\n");
    let options = ["serve", "--listen", "127.0.0.1:0", "--config", "serve.toml"];
    let server = Server::start(sandbox.command(options));
    assert!(get(server.host(), "/v2/?token=sentinel").starts_with("HTTP/1.1 200 "));
    assert!(get(server.host(), "/readyz").starts_with("HTTP/1.1 200 "));
    server.signal(Signal::TERM);
    let ended = server.wait().ok();
    assert!(!ended.stderr.contains("sentinel"), "{ended}");
    let lines: Vec<serde_json::Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["path"], "/v2/");
    assert_eq!(lines[0]["endpoint"], "ping");
    assert_eq!(lines[0]["status"], 200);
    assert!(lines[0]["time"].as_str().expect("a time").ends_with('Z'));
}

#[test]
fn metrics_have_an_address_of_their_own() {
    let sandbox = Sandbox::new();
    let refused = sandbox.cairn(["serve", "--metrics", "0.0.0.0:0"]).exits(1);
    refused.says("--plain-http");
    let options = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
        "--access-log",
        "text",
    ];
    let server = Server::start(sandbox.command(options));
    assert!(get(server.host(), "/metrics").starts_with("HTTP/1.1 404 "));
    server.signal(Signal::TERM);
    server.wait().ok().says("metrics at http://127.0.0.1:");
}
