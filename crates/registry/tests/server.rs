//! The server, asked directly: what each endpoint does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use cairn_oci::{Descriptor, Digest, Manifest, json, media_type};
use cairn_registry::server::{AccessLog, AccessRecord, BasicAuth, PasswordList, ServerConfig};
use cairn_store::{Directory, RawManifest};
use http::Method;
use serde_json::json;
use support::raw;
use support::registry::{Registry, document, error, header};

#[tokio::test]
async fn ping_and_discovery_say_what_this_is() {
    let registry = Registry::new().await;
    let ping = registry.get("/v2/").await;
    assert_eq!(header(&ping, "docker-distribution-api-version"), "registry/2.0");
    assert_eq!(ping.status(), 200);
    assert_eq!(registry.status(Method::GET, "/v2").await, 200);
    for path in ["/v2/_oci/ext/discover", "/v2/team/web/_oci/ext/discover"] {
        let found = document(registry.get(path).await).await;
        assert_eq!(found["extensions"][0]["name"], "_cairn");
        assert_eq!(
            found["extensions"][0]["endpoints"],
            json!(["conditions-v1", "seal-v1", "delete-tags-v1"])
        );
    }
    let (status, code, _) = error(registry.request(Method::POST, "/v2/").send().await.unwrap()).await;
    assert_eq!((status, code.as_str()), (405, "UNSUPPORTED"));
}

#[tokio::test]
async fn f3_what_does_not_match_is_not_stored() {
    let registry = Registry::new().await;
    let digest = Digest::of(b"right");
    let location = registry.begin().await;
    let put = registry
        .request(Method::PUT, &format!("{location}?digest={digest}"))
        .body("wrong");
    let (status, code, _) = error(put.send().await.unwrap()).await;
    assert_eq!((status, code.as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(
        registry
            .status(Method::HEAD, &format!("/v2/a/blobs/{digest}"))
            .await,
        404
    );
    for query in [
        "",
        "?digest=",
        "?digest=sha256:1",
        "?digest=sha512:00",
        "?digest=%",
    ] {
        let location = registry.begin().await;
        let status = registry.status(Method::PUT, &format!("{location}{query}")).await;
        assert_eq!(status, 400, "{query}");
    }
    let lacking = raw(&Manifest::image(
        Descriptor::of(media_type::CONFIG, b"none"),
        vec![],
    ));
    let answer = registry.put_manifest("/v2/a/manifests/x", &lacking, &[]).await;
    let (status, code, detail) = error(answer).await;
    assert_eq!((status, code.as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    assert_eq!(detail["digest"], json!(Digest::of(b"none")));
    let other = format!("/v2/a/manifests/{}", Digest::of(b"other"));
    let manifest = registry.image("f3").await;
    assert_eq!(registry.put_manifest(&other, &manifest, &[]).await.status(), 400);
    let text = RawManifest::new("text/plain", manifest.bytes().clone());
    let (status, code, _) = error(registry.put_manifest("/v2/a/manifests/x", &text, &[]).await).await;
    assert_eq!((status, code.as_str()), (400, "MANIFEST_INVALID"));
    assert_eq!(registry.status(Method::GET, "/v2/a/manifests/x").await, 404);
}

#[tokio::test]
async fn f4_pieces_must_begin_where_the_upload_ends() {
    let registry = Registry::new().await;
    let location = registry.begin().await;
    let patch = |range: &'static str, body: &'static str| {
        let mut request = registry.request(Method::PATCH, &location).body(body);
        if !range.is_empty() {
            request = request.header("content-range", range);
        }
        request.send()
    };
    let first = patch("0-2", "abc").await.unwrap();
    assert_eq!(
        (first.status().as_u16(), header(&first, "range").as_str()),
        (202, "0-2")
    );
    for wrong in ["0-2", "2-4", "4-6"] {
        let answer = patch(wrong, "xyz").await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "range").as_str()),
            (416, "0-2"),
            "{wrong}"
        );
    }
    for (bad, body) in [("3-9", "def"), ("abc", "def"), ("5-3", "def")] {
        assert_eq!(patch(bad, body).await.unwrap().status(), 400, "{bad}");
    }
    assert_eq!(patch("", "d").await.unwrap().status(), 202);
    let status = registry.get(&location).await;
    assert_eq!(
        (status.status().as_u16(), header(&status, "range").as_str()),
        (204, "0-3")
    );
    let digest = Digest::of(b"abcdef");
    let done = registry
        .request(Method::PUT, &format!("{location}?digest={digest}"))
        .header("content-range", "4-5")
        .body("ef");
    let done = done.send().await.unwrap();
    assert_eq!(done.status(), 201);
    assert_eq!(header(&done, "location"), format!("/v2/a/blobs/{digest}"));
    assert_eq!(header(&done, "docker-content-digest"), digest.to_string());
    assert_eq!(registry.get(&location).await.status(), 404);
}

#[tokio::test]
async fn f9_deleting_can_be_switched_off() {
    let registry = Registry::start(ServerConfig {
        delete: false,
        ..ServerConfig::default()
    })
    .await;
    let manifest = registry.image("f9").await;
    registry.put_manifest("/v2/a/manifests/x", &manifest, &[]).await;
    let digest = manifest.digest();
    let blob = Digest::of(b"layer f9");
    for path in [
        "/v2/a/manifests/x".to_owned(),
        format!("/v2/a/manifests/{digest}"),
        format!("/v2/a/blobs/{blob}"),
    ] {
        assert_eq!(registry.status(Method::DELETE, &path).await, 405, "{path}");
        assert_eq!(registry.status(Method::HEAD, &path).await, 200, "{path}");
    }
    let found = document(registry.get("/v2/_oci/ext/discover").await).await;
    assert_eq!(
        found["extensions"][0]["endpoints"],
        json!(["conditions-v1", "seal-v1"])
    );
}

#[tokio::test]
async fn f11_what_a_manifest_is_must_be_what_it_says() {
    let registry = Registry::new().await;
    let manifest = registry.image("f11").await;
    let says = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
        media_type::INDEX
    );
    for (given, bytes) in [
        (media_type::INDEX, manifest.bytes().clone()),
        (media_type::MANIFEST, says.clone().into()),
        (media_type::DOCKER_INDEX, says.clone().into()),
        ("", manifest.bytes().clone()),
        ("application/json", manifest.bytes().clone()),
    ] {
        let wrong = RawManifest::new(given, bytes);
        let answer = registry.put_manifest("/v2/a/manifests/x", &wrong, &[]).await;
        let (status, code, _) = error(answer).await;
        assert_eq!((status, code.as_str()), (400, "MANIFEST_INVALID"), "{given}");
    }
    assert_eq!(registry.status(Method::HEAD, "/v2/a/manifests/x").await, 404);
    // Another algorithm is one that this registry does not have, and never a name for something else.
    let other = format!("sha512:{}", "0".repeat(128));
    for (method, path) in [
        (Method::GET, format!("/v2/a/blobs/{other}")),
        (Method::DELETE, format!("/v2/a/blobs/{other}")),
        (Method::GET, format!("/v2/a/manifests/{other}")),
        (Method::GET, format!("/v2/a/referrers/{other}")),
        (Method::POST, format!("/v2/a/blobs/uploads/?digest={other}")),
        (Method::POST, format!("/v2/a/blobs/uploads/?mount={other}&from=a")),
    ] {
        let answer = registry.request(method.clone(), &path).send().await.unwrap();
        let (status, code, _) = error(answer).await;
        assert_eq!(
            (status, code.as_str()),
            (400, "DIGEST_INVALID"),
            "{method} {path}"
        );
    }
    let put = registry
        .put_manifest(&format!("/v2/a/manifests/{other}"), &manifest, &[])
        .await;
    assert_eq!(put.status(), 400);
    let flood: String = (0..5000).map(|number| format!("&tag=t{number}")).collect();
    let path = format!("/v2/a/manifests/{}?{flood}", manifest.digest());
    let refused = registry.put_manifest(&path, &manifest, &[]).await.status();
    assert!(matches!(refused.as_u16(), 400 | 414 | 431), "{refused}");
    let tags = registry.status(Method::HEAD, "/v2/a/manifests/t0").await;
    assert_eq!(tags, 404);
}

/// Far more referrers than a page has: each is listed once, and a subject that is not there has as many.
#[tokio::test]
async fn f10_thousands_of_referrers_come_by_pages() {
    const COUNT: usize = 5000;
    let place = tempfile::tempdir().unwrap();
    let store = Directory::open(place.path()).unwrap();
    let registry = Registry::over(Arc::new(store.clone()), ServerConfig::default()).await;
    registry.image("something").await;
    let subject = Digest::of(b"a subject that is not there");
    let layout = store.open_repository(&"a".parse().unwrap()).layout().to_owned();
    let directory = layout.join("refs/referrers").join(subject.hex());
    let mut written = BTreeSet::new();
    for number in 0..COUNT {
        let mut entry = Descriptor::of(media_type::MANIFEST, number.to_string().as_bytes());
        let kind = if number % 100 == 0 { "rare" } else { "common" };
        entry.artifact_type = Some(format!("application/vnd.{kind}"));
        let path = directory.join(entry.digest.hex());
        cairn_store::files::write_cached(&path, &json::canonical(&entry)).unwrap();
        written.insert(entry.digest.to_string());
    }
    for (filter, expected) in [("", COUNT), ("&artifactType=application/vnd.rare", COUNT / 100)] {
        let mut next = Some(format!("/v2/a/referrers/{subject}?n=700{filter}"));
        let (mut found, mut pages) = (BTreeSet::new(), 0);
        while let Some(path) = next {
            let answer = registry.get(&path).await;
            let link = answer
                .headers()
                .get("link")
                .map(|link| link.to_str().unwrap().to_owned());
            next = link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
            let page = document(answer).await;
            let entries = page["manifests"].as_array().unwrap();
            assert!(entries.len() <= 700);
            let digests = entries
                .iter()
                .map(|entry| entry["digest"].as_str().unwrap().to_owned());
            for digest in digests {
                assert!(written.contains(&digest) && found.insert(digest), "listed twice");
            }
            pages += 1;
        }
        assert_eq!(
            (found.len(), pages),
            (expected, expected.div_ceil(700)),
            "{filter}"
        );
    }
}

#[tokio::test]
async fn what_is_deleted_is_gone() {
    let registry = Registry::new().await;
    let manifest = registry.image("gone").await;
    let by_digest = format!("/v2/a/manifests/{}", manifest.digest());
    for tag in ["x", "y", "z"] {
        let path = format!("/v2/a/manifests/{tag}");
        assert_eq!(registry.put_manifest(&path, &manifest, &[]).await.status(), 201);
    }
    let (tag, blob) = (
        "/v2/a/manifests/x",
        format!("/v2/a/blobs/{}", Digest::of(b"layer gone")),
    );
    for path in [tag, &by_digest, &blob] {
        assert_eq!(registry.status(Method::HEAD, path).await, 200, "{path}");
        assert_eq!(registry.status(Method::DELETE, path).await, 202, "{path}");
        assert_eq!(registry.status(Method::HEAD, path).await, 404, "{path}");
        assert_eq!(registry.status(Method::DELETE, path).await, 404, "{path}");
    }
    // The other tags went with the manifest that they showed.
    let left = document(registry.get("/v2/a/tags/list").await).await;
    assert_eq!(left["tags"], json!([]));
    // What is gone is not there for a mount or a manifest either.
    let mount = format!("/v2/b/blobs/uploads/?mount={}&from=a", Digest::of(b"layer gone"));
    assert_eq!(registry.status(Method::POST, &mount).await, 202);
    assert_eq!(registry.put_manifest(tag, &manifest, &[]).await.status(), 400);
}

#[tokio::test]
async fn f4_an_upload_goes_on_after_a_restart_of_the_server() {
    let place = tempfile::tempdir().unwrap();
    let open = || Arc::new(Directory::open(place.path()).unwrap());
    let mut registry = Registry::over(open(), ServerConfig::default()).await;
    let location = registry.begin().await;
    for (at, piece) in [(0, "one "), (4, "two "), (8, "three")] {
        let range = format!("{at}-{}", at + piece.len() - 1);
        let patch = registry
            .request(Method::PATCH, &location)
            .header("content-range", range);
        assert_eq!(patch.body(piece).send().await.unwrap().status(), 202);
        registry.server.stop().await.unwrap().unwrap();
        registry = Registry::over(open(), ServerConfig::default()).await;
    }
    assert_eq!(header(&registry.get(&location).await, "range"), "0-12");
    let digest = Digest::of(b"one two three");
    let put = format!("{location}?digest={digest}");
    assert_eq!(registry.status(Method::PUT, &put).await, 201);
    let blob = registry.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(blob.text().await.unwrap(), "one two three");
}

#[tokio::test]
async fn conditions_are_honoured_and_confirmed() {
    let registry = Registry::new().await;
    let (one, two) = (registry.image("one").await, registry.image("two").await);
    let path = "/v2/a/manifests/x";
    let written = registry.put_manifest(path, &one, &[("if-none-match", "*")]).await;
    assert_eq!(written.status(), 201);
    assert_eq!(header(&written, "cairn-condition"), "if-absent");
    let etag = header(&written, "etag");
    assert_eq!(etag, format!("\"{}\"", one.digest()));
    let refused = registry.put_manifest(path, &two, &[("if-none-match", "*")]).await;
    assert_eq!(header(&refused, "etag"), etag);
    assert_eq!(
        header(&refused, "docker-content-digest"),
        one.digest().to_string()
    );
    let (status, code, detail) = error(refused).await;
    assert_eq!((status, code.as_str()), (412, "DENIED"));
    assert_eq!(detail, json!({ "tag": "x", "digest": one.digest() }));
    let stale = format!("\"{}\"", two.digest());
    assert_eq!(
        registry
            .put_manifest(path, &two, &[("if-match", &stale)])
            .await
            .status(),
        412
    );
    let moved = registry
        .put_manifest(
            path,
            &two,
            &[("if-match", &etag), ("cairn-condition", "if-match")],
        )
        .await;
    assert_eq!(
        (
            moved.status().as_u16(),
            header(&moved, "cairn-condition").as_str()
        ),
        (201, "if-match")
    );
    let plain = registry.put_manifest(path, &one, &[]).await;
    assert!(!plain.headers().contains_key("cairn-condition"));
    let sealed = registry
        .put_manifest(path, &one, &[("cairn-condition", "seal")])
        .await;
    assert_eq!(header(&sealed, "cairn-condition"), "seal");
    let (status, code, detail) = error(registry.put_manifest(path, &two, &[]).await).await;
    assert_eq!((status, code.as_str()), (409, "DENIED"));
    assert_eq!(
        detail,
        json!({ "tag": "x", "digest": one.digest(), "sealed": true })
    );
}

#[tokio::test]
async fn half_a_condition_writes_nothing() {
    let registry = Registry::new().await;
    let manifest = registry.image("half").await;
    let by_digest = format!("/v2/a/manifests/{}", manifest.digest());
    for (path, headers) in [
        ("/v2/a/manifests/x", [("cairn-condition", "if-match")]),
        ("/v2/a/manifests/x", [("cairn-condition", "if-absent")]),
        ("/v2/a/manifests/x", [("if-match", "*")]),
        ("/v2/a/manifests/x", [("if-none-match", "\"x\"")]),
        (by_digest.as_str(), [("if-none-match", "*")]),
    ] {
        let answer = registry.put_manifest(path, &manifest, &headers).await;
        assert_eq!(answer.status(), 400, "{headers:?}");
        assert_eq!(registry.status(Method::GET, path).await, 404);
    }
}

#[tokio::test]
async fn a_head_is_written_only_under_a_condition() {
    let registry = Registry::new().await;
    let manifest = registry.image("head").await;
    let path = "/v2/a/manifests/cairn-head";
    let digest = format!("/v2/a/manifests/{}", manifest.digest());
    assert_eq!(registry.put_manifest(path, &manifest, &[]).await.status(), 428);
    let beside = format!("{digest}?tag=ok&tag=cairn-head");
    assert_eq!(registry.put_manifest(&beside, &manifest, &[]).await.status(), 428);
    assert_eq!(registry.status(Method::GET, "/v2/a/manifests/ok").await, 404);
    let written = registry
        .put_manifest(path, &manifest, &[("if-none-match", "*")])
        .await;
    assert_eq!(written.status(), 201);
    assert_eq!(registry.status(Method::DELETE, path).await, 428);
    assert_eq!(registry.status(Method::DELETE, &digest).await, 428);
    assert_eq!(registry.status(Method::HEAD, path).await, 200);
}

#[tokio::test]
async fn a_condition_on_delete_is_refused_and_nothing_is_deleted() {
    let registry = Registry::new().await;
    let manifest = registry.image("conditional").await;
    let path = "/v2/a/manifests/prod";
    assert_eq!(registry.put_manifest(path, &manifest, &[]).await.status(), 201);
    let other = format!("\"sha256:{}\"", "0".repeat(64));
    let request = registry.request(Method::DELETE, path).header("if-match", other);
    assert_eq!(request.send().await.unwrap().status(), 400);
    assert_eq!(registry.status(Method::HEAD, path).await, 200);
    assert_eq!(registry.status(Method::DELETE, path).await, 202);
}

#[tokio::test]
async fn a_pattern_of_heads_protects_each_of_them() {
    let registry = Registry::start(ServerConfig {
        conditional_tags: vec!["head-*".parse().unwrap()],
        ..ServerConfig::default()
    })
    .await;
    let manifest = registry.image("head").await;
    let path = "/v2/a/manifests/head-1";
    assert_eq!(registry.put_manifest(path, &manifest, &[]).await.status(), 428);
    assert_eq!(
        registry
            .put_manifest("/v2/a/manifests/other", &manifest, &[])
            .await
            .status(),
        201
    );
    registry
        .put_manifest(path, &manifest, &[("if-none-match", "*")])
        .await;
    let digest = format!("/v2/a/manifests/{}", manifest.digest());
    assert_eq!(registry.status(Method::DELETE, &digest).await, 428);
}

#[tokio::test]
async fn blobs_come_whole_in_part_and_not_again() {
    let registry = Registry::new().await;
    let digest = Digest::of(b"0123456789");
    let post = registry
        .request(Method::POST, &format!("/v2/a/blobs/uploads/?digest={digest}"))
        .body("0123456789");
    let created = post.send().await.unwrap();
    assert_eq!(created.status(), 201);
    let path = header(&created, "location");
    let head = registry.request(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(header(&head, "content-length"), "10");
    assert_eq!(header(&head, "accept-ranges"), "bytes");
    let get =
        |name: &'static str, value: String| registry.request(Method::GET, &path).header(name, value).send();
    let part = get("range", "bytes=2-4".to_owned()).await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(header(&part, "content-range"), "bytes 2-4/10");
    assert_eq!(part.text().await.unwrap(), "234");
    let beyond = get("range", "bytes=10-".to_owned()).await.unwrap();
    assert_eq!(beyond.status(), 416);
    assert_eq!(header(&beyond, "content-range"), "bytes */10");
    let known = get("if-none-match", format!("\"{digest}\"")).await.unwrap();
    assert_eq!(known.status(), 304);
    let whole = get("range", "bytes=abc".to_owned()).await.unwrap();
    assert_eq!(
        (whole.status().as_u16(), whole.text().await.unwrap().as_str()),
        (200, "0123456789")
    );
}

#[tokio::test]
async fn manifests_are_served_as_they_came() {
    let registry = Registry::new().await;
    let manifest = registry.image("as it came").await;
    let digest = manifest.digest();
    let path = format!("/v2/a/manifests/{digest}?tag=x&tag=y");
    let written = registry.put_manifest(&path, &manifest, &[]).await;
    let tags: Vec<_> = written.headers().get_all("oci-tag").iter().collect();
    assert_eq!(tags, ["x", "y"]);
    assert_eq!(header(&written, "location"), format!("/v2/a/manifests/{digest}"));
    for target in ["x", "y", digest.to_string().as_str()] {
        let path = format!("/v2/a/manifests/{target}");
        let read = registry.get(&path).await;
        assert_eq!(header(&read, "content-type"), media_type::MANIFEST);
        assert_eq!(header(&read, "docker-content-digest"), digest.to_string());
        assert_eq!(read.bytes().await.unwrap(), *manifest.bytes());
        let head = registry.request(Method::HEAD, &path).send().await.unwrap();
        assert_eq!(
            header(&head, "content-length"),
            manifest.bytes().len().to_string()
        );
        let again = registry
            .request(Method::GET, &path)
            .header("if-none-match", format!("\"{digest}\""));
        assert_eq!(again.send().await.unwrap().status(), 304);
    }
    let many = (0..17).map(|n| format!("tag=t{n}")).collect::<Vec<_>>().join("&");
    let flood = format!("/v2/a/manifests/{digest}?{many}");
    assert_eq!(registry.put_manifest(&flood, &manifest, &[]).await.status(), 400);
}

#[tokio::test]
async fn several_tags_of_one_put_are_written_together_or_not_at_all() {
    let registry = Registry::new().await;
    let (one, two) = (registry.image("one").await, registry.image("two").await);
    let seal = [("cairn-condition", "seal")];
    let path = "/v2/a/manifests/z-sealed";
    assert_eq!(registry.put_manifest(path, &one, &seal).await.status(), 201);
    let both = format!("/v2/a/manifests/{}?tag=first&tag=z-sealed", two.digest());
    let (status, _, detail) = error(registry.put_manifest(&both, &two, &[]).await).await;
    assert_eq!((status, &detail["tag"]), (409, &json!("z-sealed")));
    assert_eq!(registry.status(Method::HEAD, "/v2/a/manifests/first").await, 404);
    let by_digest = format!("/v2/a/manifests/{}", two.digest());
    assert_eq!(registry.status(Method::HEAD, &by_digest).await, 404);
    let again = (0..20).map(|_| "tag=first").collect::<Vec<_>>().join("&");
    let written = registry
        .put_manifest(&format!("{by_digest}?{again}"), &two, &[])
        .await;
    let tags: Vec<_> = written.headers().get_all("oci-tag").iter().collect();
    assert_eq!(written.status(), 201);
    assert_eq!(tags, ["first"]);
    let wrong = format!("/v2/a/manifests/{}?tag=third", one.digest());
    assert_eq!(registry.put_manifest(&wrong, &two, &[]).await.status(), 400);
    let bad = format!("{by_digest}?tag=fourth&tag=-bad");
    assert_eq!(registry.put_manifest(&bad, &two, &[]).await.status(), 400);
    for tag in ["third", "fourth"] {
        let path = format!("/v2/a/manifests/{tag}");
        assert_eq!(registry.status(Method::HEAD, &path).await, 404);
    }
}

#[tokio::test]
async fn what_a_head_needs_cannot_be_deleted() {
    let registry = Registry::new().await;
    let manifest = registry.image("head").await;
    let path = "/v2/a/manifests/cairn-head";
    let absent = [("if-none-match", "*")];
    assert_eq!(
        registry.put_manifest(path, &manifest, &absent).await.status(),
        201
    );
    for blob in manifest.document().unwrap().blobs() {
        let path = format!("/v2/a/blobs/{}", blob.digest);
        assert_eq!(registry.status(Method::DELETE, &path).await, 428);
        assert_eq!(registry.status(Method::HEAD, &path).await, 200);
    }
}

#[tokio::test]
async fn a_sealed_manifest_keeps_its_media_type() {
    let registry = Registry::new().await;
    let text = r#"{"schemaVersion":2,"manifests":[]}"#;
    let sealed = RawManifest::new(media_type::INDEX, text);
    let other = RawManifest::new(media_type::DOCKER_INDEX, text);
    let path = "/v2/a/manifests/x";
    let seal = [("cairn-condition", "seal")];
    assert_eq!(registry.put_manifest(path, &sealed, &seal).await.status(), 201);
    let by_digest = format!("/v2/a/manifests/{}", other.digest());
    for path in [
        path,
        "/v2/a/manifests/y",
        &by_digest,
        &format!("{by_digest}?tag=y"),
    ] {
        let (status, _, detail) = error(registry.put_manifest(path, &other, &[]).await).await;
        assert_eq!((status, &detail["sealed"]), (409, &json!(true)), "{path}");
    }
    for path in [path, &by_digest] {
        assert_eq!(
            header(&registry.get(path).await, "content-type"),
            media_type::INDEX
        );
    }
    assert_eq!(registry.put_manifest(path, &sealed, &[]).await.status(), 201);
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let registry = Registry::new().await;
    let subject = registry.image("subject").await;
    let mut referrers = Vec::new();
    for kind in ["application/vnd.a+json", "application/vnd.b"] {
        let mut manifest: Manifest = serde_json::from_slice(subject.bytes()).unwrap();
        manifest.artifact_type = Some(kind.to_owned());
        manifest.subject = Some(subject.descriptor());
        let manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
        let path = format!("/v2/a/manifests/{}", manifest.digest());
        let written = registry.put_manifest(&path, &manifest, &[]).await;
        assert_eq!(header(&written, "oci-subject"), subject.digest().to_string());
        referrers.push(manifest.digest());
    }
    let path = format!("/v2/a/referrers/{}", subject.digest());
    let all = registry.get(&path).await;
    assert_eq!(header(&all, "content-type"), media_type::INDEX);
    assert!(!all.headers().contains_key("oci-filters-applied"));
    assert_eq!(document(all).await["manifests"].as_array().unwrap().len(), 2);
    for filter in ["application/vnd.a%2Bjson", "application/vnd.a+json"] {
        let one = registry.get(&format!("{path}?artifactType={filter}")).await;
        assert_eq!(header(&one, "oci-filters-applied"), "artifactType");
        let one = document(one).await;
        assert_eq!(one["manifests"].as_array().unwrap().len(), 1);
        assert_eq!(one["manifests"][0]["digest"], json!(referrers[0]));
    }
    let first = registry
        .get(&format!("{path}?n=1&artifactType=application/vnd.b"))
        .await;
    assert!(!first.headers().contains_key("link"));
    assert!(
        registry
            .get(&format!("{path}?n=1"))
            .await
            .headers()
            .contains_key("link")
    );
    let none = format!("/v2/none/referrers/{}", Digest::of(b"none"));
    assert_eq!(document(registry.get(&none).await).await["manifests"], json!([]));
    assert_eq!(registry.status(Method::GET, "/v2/a/referrers/x").await, 400);
}

#[tokio::test]
async fn mounting_gives_the_blob_or_an_upload() {
    let registry = Registry::new().await;
    let digest = Digest::of(b"x");
    let post = registry
        .request(Method::POST, &format!("/v2/b/blobs/uploads/?digest={digest}"))
        .body("x");
    assert_eq!(post.send().await.unwrap().status(), 201);
    for (query, expected) in [
        (format!("mount={digest}&from=b"), 201),
        (format!("mount={}&from=b", Digest::of(b"y")), 202),
        (format!("mount={digest}&from=none"), 202),
        (format!("mount={digest}&from=../b"), 202),
        (format!("mount={digest}"), 202),
        ("mount=x&from=b".to_owned(), 400),
    ] {
        let path = format!("/v2/c/blobs/uploads/?{query}");
        assert_eq!(registry.status(Method::POST, &path).await, expected, "{query}");
    }
    let location = registry.begin().await;
    assert_eq!(registry.status(Method::DELETE, &location).await, 204);
    assert_eq!(registry.status(Method::DELETE, &location).await, 404);
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
async fn f13_strangers_are_challenged_and_secrets_not_logged() {
    let log = Arc::new(Heard::default());
    let passwords = BTreeMap::from([("ann".to_owned(), "sentinel".to_owned())]);
    let registry = Registry::start(ServerConfig {
        basic: Some(BasicAuth {
            realm: "cairn".to_owned(),
            accounts: Arc::new(PasswordList::new(&passwords)),
        }),
        log: Arc::clone(&log) as Arc<dyn AccessLog>,
        ..ServerConfig::default()
    })
    .await;
    let stranger = registry.get("/v2/").await;
    assert_eq!(
        header(&stranger, "www-authenticate"),
        "Basic realm=\"cairn\", charset=\"UTF-8\""
    );
    assert_eq!(error(stranger).await.1, "UNAUTHORIZED");
    let as_user = |user: &'static str, password: &'static str| {
        registry
            .request(Method::GET, "/v2/?secret=sentinel")
            .basic_auth(user, Some(password))
            .send()
    };
    assert_eq!(as_user("ann", "sentinel").await.unwrap().status(), 200);
    assert_eq!(as_user("ann", "wrong").await.unwrap().status(), 401);
    assert_eq!(as_user("bob", "sentinel").await.unwrap().status(), 401);
    let odd = registry
        .request(Method::GET, "/v2/")
        .header("authorization", "Basic !!");
    assert_eq!(odd.send().await.unwrap().status(), 401);
    registry.server.stop().await.unwrap().unwrap();
    let records = log.0.lock().unwrap();
    assert_eq!(records.len(), 5);
    assert_eq!(
        (records[1].status, records[1].path.as_str(), records[1].sent),
        (200, "/v2/", 2)
    );
    assert!(!format!("{records:?}").contains("sentinel"));
}
