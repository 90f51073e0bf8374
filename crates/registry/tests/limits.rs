//! The server under bad clients: too much, too slow, broken off, oddly named; and how it stops.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cairn_oci::{Digest, media_type};
use cairn_registry::server::{Limits, ServerConfig};
use cairn_store::Directory;
use http::Method;
use serde_json::json;
use support::registry::{Registry, document, error, header, read};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn f1_page_sizes_are_cut_or_refused() {
    let registry = Registry::new().await;
    let manifest = registry.image("f1").await;
    for tag in ["a", "b", "c"] {
        let path = format!("/v2/a/manifests/{tag}");
        assert_eq!(registry.put_manifest(&path, &manifest, &[]).await.status(), 201);
    }
    for list in ["/v2/a/tags/list", "/v2/_catalog"] {
        for bad in ["-1", "abc", "", "1.5", "0x1", "%2B1"] {
            let status = registry.status(Method::GET, &format!("{list}?n={bad}")).await;
            assert_eq!(status, 400, "{list} {bad}");
        }
        for good in [
            "9223372036854775808",
            "99999999999999999999999999",
            "1000000",
            "1",
        ] {
            let status = registry.status(Method::GET, &format!("{list}?n={good}")).await;
            assert_eq!(status, 200, "{list} {good}");
        }
    }
    let nothing = registry.get("/v2/a/tags/list?n=0").await;
    assert!(!nothing.headers().contains_key("link"));
    assert_eq!(document(nothing).await["tags"], json!([]));
    assert_eq!(
        document(registry.get("/v2/_catalog?n=0").await).await["repositories"],
        json!([])
    );
    let first = registry.get("/v2/a/tags/list?n=2").await;
    let link = header(&first, "link");
    assert_eq!(link, "</v2/a/tags/list?n=2&last=b>; rel=\"next\"");
    assert_eq!(document(first).await["tags"], json!(["a", "b"]));
    let rest = registry.get("/v2/a/tags/list?n=2&last=b").await;
    assert!(!rest.headers().contains_key("link"));
    assert_eq!(document(rest).await["tags"], json!(["c"]));
    assert_eq!(registry.status(Method::GET, "/v2/none/tags/list").await, 404);
}

#[tokio::test]
async fn f2_large_manifests_are_refused_while_they_come() {
    let registry = Registry::new().await;
    // Sent to its end before the answer is read, as many clients do: the answer must not be lost in a reset.
    let mut request = format!(
        "PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        media_type::MANIFEST
    );
    for _ in 0..12 {
        request.push_str(&format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20)));
    }
    let answer = registry.raw(&format!("{request}0\r\n\r\n")).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("SIZE_INVALID"),
        "{answer}"
    );
    let stated = registry
        .request(Method::PUT, "/v2/a/manifests/x")
        .header("content-type", media_type::MANIFEST)
        .body(vec![b' '; (4 << 20) + 1]);
    assert_eq!(stated.send().await.unwrap().status(), 413);
    assert_eq!(registry.status(Method::GET, "/v2/a/manifests/x").await, 404);
}

#[tokio::test]
async fn f4_a_broken_upload_keeps_what_came_and_goes_on() {
    let registry = Registry::new().await;
    let location = registry.begin().await;
    let mut stream = registry.connect().await;
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    // The server answers or closes as soon as it has seen the end; either way the piece is over then.
    let _whatever = read(&mut stream).await;
    let mut range = String::new();
    for _ in 0..1000 {
        range = header(&registry.get(&location).await, "range");
        if range == "0-2" {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(range, "0-2");
    let digest = Digest::of(b"abcdef");
    let rest = registry
        .request(Method::PUT, &format!("{location}?digest={digest}"))
        .body("def");
    assert_eq!(rest.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn f6_odd_names_are_refused() {
    let registry = Registry::new().await;
    for path in [
        "/v2/../manifests/x",
        "/v2/a/../../manifests/x",
        "/v2/%2e%2e/manifests/x",
        "/v2/..%2f..%2fetc/manifests/x",
        "/v2/_uploads/tags/list",
        "/v2/a/_layout/tags/list",
        "/v2/a%00/tags/list",
        "/v2/a/manifests/.x",
        "/v2/a/manifests/..%2f..%2fx",
        "/v2/a/blobs/..%2f..%2fetc%2fpasswd",
        "/v2/a/blobs/sha256:../../x",
        "/v2/a/blobs/uploads/../../../x",
        "/etc/passwd",
        "//v2/",
        "/v2/%",
    ] {
        let answer = registry
            .raw(&format!(
                "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ))
            .await;
        let status = answer.split(' ').nth(1).unwrap();
        assert!(matches!(status, "400" | "404"), "{path}: {answer}");
    }
}

fn short() -> ServerConfig {
    ServerConfig {
        limits: Limits {
            header_timeout: Duration::from_millis(200),
            body_timeout: Duration::from_millis(200),
            // Longer than any test: nothing may end only because draining does.
            drain: Duration::from_secs(3600),
            ..Limits::default()
        },
        ..ServerConfig::default()
    }
}

#[tokio::test]
async fn f7_slow_connections_are_closed_and_others_served() {
    let registry = Registry::start(short()).await;
    let mut idle = registry.connect().await;
    let mut slow = registry.connect().await;
    slow.write_all(b"GET /v2/ HTT").await.unwrap();
    assert_eq!(registry.status(Method::GET, "/v2/").await, 200);
    // Both reads end only because the server closes the connection.
    assert!(!read(&mut slow).await.contains("200 OK"));
    assert_eq!(read(&mut idle).await, "");
    let location = registry.begin().await;
    let mut body = registry.connect().await;
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc");
    body.write_all(head.as_bytes()).await.unwrap();
    assert!(read(&mut body).await.contains(" 408 "));
    assert_eq!(header(&registry.get(&location).await, "range"), "0-2");
}

#[tokio::test]
async fn f7_a_reader_that_does_not_read_is_dropped() {
    let registry = Registry::start(short()).await;
    let large = vec![7_u8; 32 << 20];
    let digest = Digest::of(&large);
    let location = registry.begin().await;
    let put = registry
        .request(Method::PUT, &format!("{location}?digest={digest}"))
        .body(large.clone());
    assert_eq!(put.send().await.unwrap().status(), 201);
    let mut stream = registry.connect().await;
    let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    let mut begun = [0; 15];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200 OK");
    // The server stops only if the stuck connection was given up.
    let stopped = tokio::time::timeout(Duration::from_secs(60), registry.server.stop()).await;
    stopped.unwrap().unwrap().unwrap();
    let mut got = Vec::new();
    // A reset is as good as an end here.
    drop(stream.read_to_end(&mut got).await);
    assert!(got.len() < large.len());
}

#[tokio::test]
async fn f7_heads_that_are_too_long_are_refused() {
    let registry = Registry::new().await;
    let long = "x".repeat(40 << 10);
    let answer = registry
        .raw(&format!("GET /v2/ HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"))
        .await;
    assert!(answer.contains(" 431 "), "{answer}");
}

#[tokio::test]
async fn f12_a_stopping_server_finishes_what_it_began() {
    let registry = Registry::new().await;
    let location = registry.begin().await;
    let digest = Digest::of(b"abcdef");
    let mut busy = registry.connect().await;
    let head = format!(
        "PUT {location}?digest={digest} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n"
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    // The server is in the middle of this request when it says this.
    let mut interim = [0; 25];
    busy.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    busy.write_all(b"abc").await.unwrap();
    // A connection that was accepted and has nothing to do; one in the queue would be reset.
    let mut idle = registry.connect().await;
    let ping = b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n";
    idle.write_all(ping).await.unwrap();
    let mut answered = Vec::new();
    while !answered.ends_with(b"\r\n\r\n{}") {
        answered.push(idle.read_u8().await.unwrap());
    }
    let address = registry.server.address;
    let stopped = registry.server.stop();
    assert_eq!(read(&mut idle).await, "", "an idle connection is closed at once");
    assert!(TcpStream::connect(address).await.is_err(), "nobody new is let in");
    busy.write_all(b"def").await.unwrap();
    assert!(read(&mut busy).await.starts_with("HTTP/1.1 201 "));
    stopped.await.unwrap().unwrap();
}

#[tokio::test]
async fn f12_draining_has_an_end() {
    let mut config = ServerConfig::default();
    config.limits.drain = Duration::from_millis(100);
    let registry = Registry::start(config).await;
    let location = registry.begin().await;
    let mut stuck = registry.connect().await;
    let head =
        format!("PATCH {location} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n");
    stuck.write_all(head.as_bytes()).await.unwrap();
    stuck.read_exact(&mut [0; 25]).await.unwrap();
    registry.server.stop().await.unwrap().unwrap();
}

/// One thread for everything that blocks: a body that is waited for must not keep it.
#[test]
fn a_slow_patch_body_blocks_no_worker_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let place = tempfile::tempdir().unwrap();
        let store = Directory::open(place.path()).unwrap();
        let registry = Registry::over(Arc::new(store), ServerConfig::default()).await;
        let mut slow = Vec::new();
        for _ in 0..3 {
            let location = registry.begin().await;
            let mut stream = registry.connect().await;
            let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nabc");
            stream.write_all(head.as_bytes()).await.unwrap();
            // What has come is there at once, although the rest has not.
            let limit = Duration::from_secs(60);
            let arrived = async { while header(&registry.get(&location).await, "range") != "0-2" {} };
            tokio::time::timeout(limit, arrived).await.unwrap();
            slow.push((location, stream));
        }
        // Another request for the same upload waits for its turn, and keeps no thread either.
        let (location, _) = &slow[0];
        let digest = Digest::of(b"abcdef");
        let put = registry.request(Method::PUT, &format!("{location}?digest={digest}"));
        let waiting = tokio::spawn(put.header("content-length", "0").send());
        assert_eq!(registry.status(Method::GET, "/v2/a/tags/list").await, 200);
        for (_, stream) in &mut slow {
            stream.write_all(b"def").await.unwrap();
            stream.read_exact(&mut [0; 12]).await.unwrap();
        }
        assert_eq!(waiting.await.unwrap().unwrap().status(), 201);
    });
}

#[tokio::test]
async fn too_many_uploads_are_told_to_wait() {
    let mut config = ServerConfig::default();
    config.limits.uploads = 0;
    let registry = Registry::start(config).await;
    let location = registry.begin().await;
    let patch = registry.request(Method::PATCH, &location).body("abc");
    let answer = patch.send().await.unwrap();
    assert_eq!(header(&answer, "retry-after"), "1");
    assert_eq!(error(answer).await.1, "TOOMANYREQUESTS");
}
