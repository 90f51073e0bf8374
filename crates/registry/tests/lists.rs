//! Lists that registries cut, repeat, and lose: tags by pages, referrers by API and by tag.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_oci::{Descriptor, Digest, Index, Manifest, Tag, json, media_type};
use cairn_registry::wire::Query;
use cairn_store::transfer::{Transfer, TransferError};
use cairn_store::{Condition, Memory, Page, RawManifest, Referrers, Repository, RepositoryError, Store};
use http::Method;
use support::{Fake, Seen, answer, chain, fake, image, manifest_answer, our_server, proxy, raw, remote, tag};

fn query(seen: &Seen, key: &str) -> Option<String> {
    let query = Query::parse(seen.uri.query().unwrap_or_default()).unwrap();
    query.get(key).map(str::to_owned)
}

fn tag_list(tags: &[String]) -> String {
    serde_json::json!({ "name": "a", "tags": tags }).to_string()
}

/// Every tag that all pages of `limit` give, in order, and how many requests that took.
async fn all(server: &Fake, limit: usize) -> (Vec<String>, usize) {
    let remote = remote(&server.host(), "a");
    let mut page = Page { after: None, limit };
    let mut tags = Vec::new();
    for _ in 0..100 {
        let found = remote.list_tags(&page).await.unwrap();
        tags.extend(found.tags.iter().map(Tag::to_string));
        match found.next {
            Some(next) => page.after = Some(next),
            None => return (tags, server.seen().len()),
        }
    }
    panic!("the list has no end: {tags:?}");
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("v{number:02}")).collect()
}

/// Gives `n` tags after `last`, with a `Link` of this form if there is one.
async fn paged(count: usize, link: Option<fn(&str) -> String>) -> Fake {
    fake(move |seen| {
        let last = query(seen, "last").unwrap_or_default();
        let n: usize = query(seen, "n").unwrap().parse().unwrap();
        let rest: Vec<_> = names(count).into_iter().filter(|tag| *tag > last).collect();
        let page = &rest[..n.min(rest.len())];
        let target = page
            .last()
            .map(|last| format!("/v2/a/tags/list?last={last}&n={n}"));
        let link = target.filter(|_| page.len() < rest.len()).zip(link);
        let link = link.map(|(target, form)| form(&target));
        let headers: Vec<_> = link.iter().map(|link| ("link", link.as_str())).collect();
        Some(answer(200, &headers, tag_list(page)))
    })
    .await
}

#[tokio::test]
async fn tags_are_paged_by_link_of_any_form() {
    let forms: [fn(&str) -> String; 4] = [
        |target| format!("<{target}>; rel=\"next\""),
        |target| format!("<{target}>;rel=next"),
        |target| format!("<{}>; rel=\"next\"", target.trim_start_matches("/v2/a/tags/")),
        |target| format!("</v2/>; rel=\"first\", <{target}>; rel=\"next\""),
    ];
    for form in forms {
        let server = paged(7, Some(form)).await;
        assert_eq!(all(&server, 3).await, (names(7), 3));
    }
}

#[tokio::test]
async fn tags_are_paged_by_last_where_there_is_no_link() {
    for (count, requests) in [(7, 5), (6, 4), (2, 1), (0, 1), (3, 2)] {
        let server = paged(count, None).await;
        assert_eq!(all(&server, 3).await, (names(count), requests), "{count}");
    }
    // Whoever sends links says all with them: a full page without one is the last.
    let server = paged(6, Some(|target| format!("<{target}>; rel=\"next\""))).await;
    assert_eq!(all(&server, 3).await, (names(6), 2));
}

#[tokio::test]
async fn docker_registry_ignores_n_and_last_and_does_not_sort() {
    for count in [2, 3, 7] {
        let mut tags = names(count);
        tags.reverse();
        let whole = tags.clone();
        let server = fake(move |_| Some(answer(200, &[], tag_list(&whole)))).await;
        assert_eq!(all(&server, 3).await.0, tags, "{count}");
    }
}

#[tokio::test]
async fn ecr_gives_short_pages_that_are_not_the_end() {
    let turn = AtomicUsize::new(0);
    let server = fake(move |_| {
        let link = "</v2/a/tags/list?n=3&last=opaque%2Btoken>; rel=\"next\"";
        Some(match turn.fetch_add(1, Ordering::SeqCst) {
            0 => answer(200, &[("link", link)], tag_list(&names(1))),
            1 => answer(200, &[("link", &link.replace("token", "other"))], tag_list(&[])),
            // Entries come twice, and in any order.
            _ => answer(
                200,
                &[],
                tag_list(&["z".to_owned(), "v00".to_owned(), "a".to_owned()]),
            ),
        })
    })
    .await;
    assert_eq!(
        all(&server, 3).await,
        (["v00", "z", "v00", "a"].map(str::to_owned).to_vec(), 3)
    );
    assert_eq!(query(&server.seen()[1], "last").unwrap(), "opaque+token");
}

/// A subject, and a manifest that refers to it.
async fn pair(repository: &dyn Repository) -> (RawManifest, RawManifest) {
    let subject = image(repository, "subject").await;
    let mut manifest: Manifest = serde_json::from_slice(subject.bytes()).unwrap();
    manifest.artifact_type = Some("application/vnd.a".to_owned());
    manifest.subject = Some(subject.descriptor());
    manifest.annotations.insert("note".to_owned(), "x".to_owned());
    (subject, raw(&manifest))
}

fn fallback(subject: &RawManifest) -> cairn_store::Target {
    tag(&format!("sha256-{}", subject.digest().hex()))
}

#[tokio::test]
async fn referrers_are_left_to_a_registry_that_names_the_subject() {
    let server = our_server().await;
    let remote = remote(&server.host(), "a");
    let (subject, manifest) = pair(&remote).await;
    remote
        .write_manifest(&manifest.digest().into(), &manifest, &Condition::Always)
        .await
        .unwrap();
    assert_eq!(remote.stat_manifest(&fallback(&subject)).await.unwrap(), None);
    let page = remote
        .list_referrers(&subject.digest(), None, &Page::first())
        .await
        .unwrap();
    assert_eq!(page.manifests.len(), 1);
    assert_eq!(page.manifests[0].annotations["note"], "x");
}

#[tokio::test]
async fn a_header_that_names_another_subject_is_none() {
    let server = our_server().await;
    for named in [
        "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "yes",
        "",
    ] {
        let odd = proxy(
            server.address,
            |seen| {
                seen.uri
                    .path()
                    .contains("/referrers/")
                    .then(|| answer(404, &[], ""))
            },
            move |_, headers| {
                if headers.contains_key("oci-subject") {
                    headers.insert("oci-subject", named.parse().unwrap());
                }
            },
        )
        .await;
        let remote = remote(&odd.host(), "a");
        let (subject, manifest) = pair(&remote).await;
        let target = manifest.digest().into();
        remote
            .write_manifest(&target, &manifest, &Condition::Always)
            .await
            .unwrap();
        let index = remote.read_manifest(&fallback(&subject)).await.unwrap().unwrap();
        let index: Index = serde_json::from_slice(index.bytes()).unwrap();
        assert_eq!(index.manifests.len(), 1, "{named}");
        assert_eq!(
            index.manifests[0].artifact_type.as_deref(),
            Some("application/vnd.a")
        );
        remote
            .delete_tag(&format!("sha256-{}", subject.digest().hex()).parse().unwrap())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn registries_say_in_many_ways_that_they_keep_no_referrers() {
    let server = our_server().await;
    let direct = remote(&server.host(), "a");
    let (subject, manifest) = pair(&direct).await;
    let entry = Descriptor {
        artifact_type: Some("application/vnd.a".to_owned()),
        ..manifest.descriptor()
    };
    let list = RawManifest::new(
        media_type::INDEX,
        json::canonical(&Index::images(vec![entry.clone()])),
    );
    for target in [manifest.digest().into(), list.digest().into(), fallback(&subject)] {
        let written = if target == manifest.digest().into() {
            &manifest
        } else {
            &list
        };
        direct
            .write_manifest(&target, written, &Condition::Always)
            .await
            .unwrap();
    }
    let says: [fn() -> support::FakeAnswer; 6] = [
        || answer(404, &[], "404 page not found"),
        || answer(400, &[], "bad request"),
        || answer(405, &[], ""),
        || answer(406, &[], ""),
        || answer(501, &[], ""),
        || answer(200, &[("content-type", "text/html")], "<html>welcome</html>"),
    ];
    for (number, say) in says.into_iter().enumerate() {
        let odd = proxy(
            server.address,
            move |seen| seen.uri.path().contains("/referrers/").then(say),
            |_, _| {},
        )
        .await;
        let remote = remote(&odd.host(), "a");
        let page = remote
            .list_referrers(&subject.digest(), None, &Page::first())
            .await
            .unwrap();
        assert_eq!(page.manifests, std::slice::from_ref(&entry), "{number}");
    }
    // A refusal or a trouble is none of them.
    for status in [401, 403, 429, 500] {
        let odd = proxy(
            server.address,
            move |seen| {
                seen.uri
                    .path()
                    .contains("/referrers/")
                    .then(|| answer(status, &[], ""))
            },
            |_, _| {},
        )
        .await;
        let listed = remote(&odd.host(), "a")
            .list_referrers(&subject.digest(), None, &Page::first())
            .await;
        assert!(listed.is_err(), "{status}");
    }
}

#[tokio::test]
async fn filters_that_a_registry_did_not_apply_are_applied_here() {
    let kinds = ["application/vnd.a", "application/vnd.b"];
    let entries = kinds.map(|kind| Descriptor {
        artifact_type: Some(kind.to_owned()),
        ..Descriptor::of(media_type::MANIFEST, kind.as_bytes())
    });
    for (applies, claims) in [(false, false), (true, true), (false, true)] {
        let given = entries.clone();
        let server = fake(move |seen| {
            let wanted = query(seen, "artifactType").filter(|_| applies);
            let given = given
                .iter()
                .filter(|entry| wanted.is_none() || entry.artifact_type == wanted);
            let index = json::canonical(&Index::images(given.cloned().collect()));
            let mut headers = vec![("content-type", media_type::INDEX)];
            if claims {
                headers.push(("oci-filters-applied", "artifactType"));
            }
            Some(answer(200, &headers, index))
        })
        .await;
        let remote = remote(&server.host(), "a");
        let subject = Digest::of(b"subject");
        let page = remote
            .list_referrers(&subject, Some(kinds[1]), &Page::first())
            .await
            .unwrap();
        assert_eq!(page.manifests, [entries[1].clone()], "{applies} {claims}");
        let page = remote
            .list_referrers(&subject, None, &Page::first())
            .await
            .unwrap();
        assert_eq!(page.manifests.len(), 2);
    }
}

#[tokio::test]
async fn gitlab_answers_the_fallback_tag_with_the_subject() {
    let server = our_server().await;
    let direct = remote(&server.host(), "a");
    let (subject, _) = pair(&direct).await;
    let bytes = subject.bytes().clone();
    let odd = proxy(
        server.address,
        move |seen| {
            let path = seen.uri.path();
            if path.contains("/referrers/") || path.contains("/_oci/") {
                return Some(answer(404, &[], ""));
            }
            (path.contains("/manifests/sha256-") && seen.method == Method::GET)
                .then(|| manifest_answer(&bytes, &[]))
        },
        |_, _| {},
    )
    .await;
    let remote = remote(&odd.host(), "a");
    assert_eq!(
        remote.capabilities().await.unwrap().referrers,
        Referrers::FallbackTag
    );
    let page = remote
        .list_referrers(&subject.digest(), None, &Page::first())
        .await
        .unwrap();
    assert_eq!(page.manifests, []);
}

#[tokio::test]
async fn c3_a_chain_of_empty_pages_ends() {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let subject = raw(&Manifest::image(
        Descriptor::of(media_type::CONFIG, b"{}"),
        vec![],
    ));
    let server = fake(move |seen| {
        if !seen.uri.path().contains("/referrers/") {
            return Some(answer(404, &[], ""));
        }
        let next = format!(
            "<?n=1&last={}>; rel=\"next\"",
            asked.fetch_add(1, Ordering::SeqCst)
        );
        let index = json::canonical(&Index::images(vec![]));
        Some(answer(
            200,
            &[("content-type", media_type::INDEX), ("link", &next)],
            index,
        ))
    })
    .await;
    let local = Memory::new().repository(&"a".parse().unwrap()).await.unwrap();
    let from = remote(&server.host(), "a");
    let error = Transfer::between(&from, &*local)
        .referrers(&subject)
        .await
        .unwrap_err();
    assert!(
        matches!(error, TransferError::TooManyReferrers { .. }),
        "{error:?}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 1000);
}

#[tokio::test]
async fn a_list_of_referrers_that_is_broken_is_an_error_and_not_empty() {
    let server = fake(|_| Some(answer(200, &[("content-type", media_type::INDEX)], "{"))).await;
    let listed = remote(&server.host(), "a")
        .list_referrers(&Digest::of(b"x"), None, &Page::first())
        .await;
    let error = listed.unwrap_err();
    assert!(
        matches!(error, RepositoryError::Protocol { .. }),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn two_writers_of_one_process_lose_no_entry_of_a_fallback_list() {
    let server = our_server().await;
    let old = proxy(
        server.address,
        |seen| {
            seen.uri
                .path()
                .contains("/referrers/")
                .then(|| answer(404, &[], ""))
        },
        |_, headers| drop(headers.remove("oci-subject")),
    )
    .await;
    let remote = remote(&old.host(), "a");
    let (subject, manifest) = pair(&remote).await;
    let mut all = Vec::new();
    for number in 0..6 {
        let mut one: Manifest = serde_json::from_slice(manifest.bytes()).unwrap();
        one.annotations.insert("number".to_owned(), number.to_string());
        all.push(raw(&one));
    }
    let writes = all.iter().map(|one| async {
        let target = one.digest().into();
        remote
            .write_manifest(&target, one, &Condition::Always)
            .await
            .unwrap();
    });
    futures_util::future::join_all(writes).await;
    let page = remote
        .list_referrers(&subject.digest(), None, &Page::first())
        .await
        .unwrap();
    let found: BTreeSet<_> = page.manifests.iter().map(|entry| entry.digest).collect();
    assert_eq!(found, all.iter().map(RawManifest::digest).collect());
}
