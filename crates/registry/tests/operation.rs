//! Operating the server: health, metrics, and what it says when it is full.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_oci::{Digest, media_type};
use cairn_registry::server::{
    AccessLog, AccessRecord, BasicAuth, Limits, PasswordList, Server, ServerConfig,
};
use cairn_store::{Directory, Memory, Store};
use http::Method;
use support::registry::{Registry, error, header, read};
use support::{Running, http_client, image};
use tokio::io::AsyncWriteExt;

fn limited(limits: Limits) -> ServerConfig {
    ServerConfig {
        limits,
        ..ServerConfig::default()
    }
}

/// A server with an address for operators, and its URL.
async fn operated(store: Arc<dyn Store>, config: ServerConfig) -> (Server, String) {
    let server = Server::new(store, config);
    let operation = server.bind_operation(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = format!("http://{}", operation.local_addr());
    tokio::spawn(operation.serve());
    (server, url)
}

#[tokio::test]
async fn health_is_answered_to_everybody_and_metrics_only_on_their_own_address() {
    let passwords = BTreeMap::from([("ann".to_owned(), "sentinel".to_owned())]);
    let config = ServerConfig {
        basic: Some(BasicAuth {
            realm: "test".to_owned(),
            accounts: Arc::new(PasswordList::new(&passwords)),
        }),
        ..ServerConfig::default()
    };
    let registry = Registry::start(config).await;
    for (path, expected) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 401),
        ("/v2/", 401),
    ] {
        assert_eq!(registry.status(Method::GET, path).await, expected, "{path}");
    }
    let (_server, url) = operated(Arc::new(Memory::new()), ServerConfig::default()).await;
    let client = http_client();
    for (path, expected) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/v2/", 404),
    ] {
        let answer = client.get(format!("{url}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{path}");
    }
    let post = client.post(format!("{url}/metrics")).send().await.unwrap();
    assert_eq!(
        (post.status().as_u16(), header(&post, "allow").as_str()),
        (405, "GET, HEAD")
    );
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<AccessRecord>>);

impl AccessLog for Heard {
    fn request(&self, record: &AccessRecord) {
        self.0.lock().unwrap().push(record.clone());
    }

    fn failure(&self, error: &(dyn std::error::Error + 'static)) {
        panic!("{error}");
    }
}

#[tokio::test]
async fn f13_no_secret_is_in_metrics_and_logs() {
    let log = Arc::new(Heard::default());
    let passwords = BTreeMap::from([("ann".to_owned(), "sentinel".to_owned())]);
    let config = ServerConfig {
        basic: Some(BasicAuth {
            realm: "test".to_owned(),
            accounts: Arc::new(PasswordList::new(&passwords)),
        }),
        log: Arc::clone(&log) as Arc<dyn AccessLog>,
        ..ServerConfig::default()
    };
    let (server, url) = operated(Arc::new(Memory::new()), config).await;
    let bound = server.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = bound.local_addr();
    tokio::spawn(bound.serve(std::future::pending()));
    let client = http_client();
    for (user, password) in [("ann", "sentinel"), ("ann", "sentinel2"), ("sentinel", "x")] {
        let request = client.get(format!("http://{address}/v2/?token=sentinel"));
        drop(request.basic_auth(user, Some(password)).send().await.unwrap());
    }
    let bearer = client.get(format!("http://{address}/v2/a/tags/list"));
    drop(bearer.bearer_auth("sentinel").send().await.unwrap());
    let page = client.get(format!("{url}/metrics")).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(
        page.contains("cairn_logins_total{result=\"allowed\"} 1\n"),
        "{page}"
    );
    assert!(
        page.contains("cairn_logins_total{result=\"refused\"} 2\n"),
        "{page}"
    );
    assert!(
        page.contains("cairn_requests_total{endpoint=\"ping\",method=\"GET\",status=\"200\"} 1\n"),
        "{page}"
    );
    let records = log.0.lock().unwrap();
    assert_eq!(records.len(), 4);
    assert_eq!(records[0].user.as_deref(), Some("ann"));
    assert!(
        records[1..]
            .iter()
            .all(|record| record.user.is_none() && record.status == 401)
    );
    assert!(!page.contains("sentinel") && !format!("{records:?}").contains("sentinel"));
}

#[tokio::test]
async fn a_server_that_stops_says_so_to_operators_and_ends_uploads() {
    let config = limited(Limits {
        drain: Duration::from_secs(3600),
        ..Limits::default()
    });
    let (server, url) = operated(Arc::new(Memory::new()), config).await;
    let bound = server.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = bound.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let done = tokio::spawn(bound.serve(async move { drop(stopped.await) }));
    let client = http_client();
    let begin = client.post(format!("http://{address}/v2/a/blobs/uploads/"));
    let location = header(&begin.send().await.unwrap(), "location");
    let mut busy = tokio::net::TcpStream::connect(address).await.unwrap();
    let head =
        format!("PATCH {location} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 6\r\n\r\nabc");
    busy.write_all(head.as_bytes()).await.unwrap();
    let status = format!("http://{address}{location}");
    while header(&client.get(&status).send().await.unwrap(), "range") != "0-2" {}
    stop.send(()).unwrap();
    let ready = format!("{url}/readyz");
    while client.get(&ready).send().await.unwrap().status() != 503 {}
    assert_eq!(
        client
            .get(format!("{url}/healthz"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    busy.write_all(b"def").await.unwrap();
    assert!(read(&mut busy).await.starts_with("HTTP/1.1 202 "));
    done.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_disk_is_507_for_pushes_and_nothing_for_pulls() {
    let place = tempfile::tempdir().unwrap();
    let store = || Arc::new(Directory::open(place.path()).unwrap());
    let full = limited(Limits {
        free_space: u64::MAX,
        ..Limits::default()
    });
    let before = Running::start(store(), ServerConfig::default()).await;
    let remote = support::remote(&before.host(), "a");
    let manifest = image(&remote, "full").await;
    let location = {
        let begin = http_client().post(format!("http://{}/v2/a/blobs/uploads/", before.address));
        header(&begin.send().await.unwrap(), "location")
    };
    before.stop().await.unwrap().unwrap();
    let registry = Registry::over(store(), full).await;
    let layer = Digest::of(b"layer full");
    assert_eq!(
        registry
            .status(Method::GET, &format!("/v2/a/blobs/{layer}"))
            .await,
        200
    );
    for (method, path) in [
        (Method::POST, "/v2/a/blobs/uploads/".to_owned()),
        (Method::POST, format!("/v2/a/blobs/uploads/?digest={layer}")),
        (Method::PATCH, location),
    ] {
        let request = registry.request(method, &path).body("content");
        let answer = request.send().await.unwrap();
        assert_eq!(header(&answer, "retry-after"), "600", "{path}");
        assert_eq!(error(answer).await.0, 507, "{path}");
    }
    let put = registry.put_manifest("/v2/a/manifests/x", &manifest, &[]).await;
    assert_eq!(put.status(), 507);
    let ready = registry.get("/readyz").await;
    assert_eq!(
        ready.text().await.unwrap(),
        "ready, but there is no room for pushes\n"
    );
}

#[tokio::test]
async fn f5_open_uploads_have_a_quota() {
    let registry = Registry::start(limited(Limits {
        open_uploads: 2,
        ..Limits::default()
    }))
    .await;
    let first = registry.begin().await;
    registry.begin().await;
    let refused = registry
        .request(Method::POST, "/v2/a/blobs/uploads/")
        .send()
        .await
        .unwrap();
    assert_eq!(header(&refused, "retry-after"), "60");
    assert_eq!(error(refused).await.1, "TOOMANYREQUESTS");
    assert_eq!(registry.status(Method::POST, "/v2/b/blobs/uploads/").await, 202);
    assert_eq!(registry.status(Method::DELETE, &first).await, 204);
    registry.begin().await;
}

#[tokio::test]
async fn blobs_have_a_largest_size() {
    let registry = Registry::start(limited(Limits {
        blob: 5,
        ..Limits::default()
    }))
    .await;
    let digest = Digest::of(b"123456");
    let whole = format!("/v2/a/blobs/uploads/?digest={digest}");
    let stated = registry.request(Method::POST, &whole).body("123456");
    assert_eq!(stated.send().await.unwrap().status(), 413);
    let location = registry.begin().await;
    assert_eq!(
        registry
            .request(Method::PATCH, &location)
            .body("123")
            .send()
            .await
            .unwrap()
            .status(),
        202
    );
    let more = registry
        .request(Method::PATCH, &location)
        .body("456")
        .send()
        .await
        .unwrap();
    assert_eq!(error(more).await.1, "SIZE_INVALID");
    // Without a length it is found out while it comes.
    let chunked = format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\n456\r\n0\r\n\r\n"
    );
    assert!(registry.raw(&chunked).await.starts_with("HTTP/1.1 413 "));
    let last = format!("{location}?digest={}", Digest::of(b"12345"));
    let put = registry.request(Method::PUT, &last).body("45");
    assert_eq!(put.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn too_many_requests_at_once_are_503() {
    let registry = Registry::start(limited(Limits {
        requests: 1,
        ..Limits::default()
    }))
    .await;
    let location = registry.begin().await;
    let mut busy = registry.connect().await;
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut busy, &mut interim)
        .await
        .unwrap();
    let refused = registry.get("/v2/").await;
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(refused.status(), 503);
    assert_eq!(registry.status(Method::GET, "/healthz").await, 200);
    busy.write_all(b"abc").await.unwrap();
    assert!(read(&mut busy).await.starts_with("HTTP/1.1 202 "));
    assert_eq!(registry.status(Method::GET, "/v2/").await, 200);
}

#[tokio::test]
async fn f7_a_body_that_trickles_is_one_that_stands_still() {
    let registry = Registry::start(limited(Limits {
        body_timeout: Duration::from_millis(300),
        ..Limits::default()
    }))
    .await;
    let location = registry.begin().await;
    let stream = registry.connect().await;
    let (mut from, mut to) = stream.into_split();
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n"
    );
    to.write_all(head.as_bytes()).await.unwrap();
    let trickle = tokio::spawn(async move {
        // Ends when the server closes the connection.
        while to.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    // The end may be a reset: bytes were still on their way.
    drop(tokio::io::AsyncReadExt::read_to_end(&mut from, &mut answer).await);
    assert!(String::from_utf8_lossy(&answer).contains(" 408 "));
    trickle.await.unwrap();
    let manifest = registry.image("after").await;
    assert_eq!(manifest.media_type().as_str(), media_type::MANIFEST);
}
