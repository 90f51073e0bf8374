//! The main story: release, replace, roll back, resume; and everything that is refused on the way.

use cairn_ledger::Class;
use cairn_ledger::authority::{Authority, Grant, Role};
use cairn_ledger::entry::Kind;
use cairn_ledger::key::Signer as _;
use cairn_ledger::operation::*;
use cairn_ledger::query;
use cairn_oci::{Digest, Index, RepositoryName, json, media_type};
use cairn_store::{Condition, Memory, RawManifest, Repository as _, RepositoryError, Target};

use crate::support::*;

#[tokio::test]
async fn a_release_is_replaced_and_rolled_back_byte_for_byte() {
    let world = World::new();
    world.init().await;
    let first = world.release("1.0.0", &["prod"]).await;
    assert!(first.changed && first.entry.unwrap().seq == 1);
    assert_eq!(world.tag("prod").await, first.digest);
    let second = world.release("2.0.0", &["prod"]).await;
    assert_eq!(second.channels[0].previous.as_ref().unwrap().label(), "1.0.0");
    assert_eq!(world.tag("prod").await, second.digest);

    let back = world.rollback("prod").await;
    assert!(back.changed && back.channels[0].held && back.channels[0].projected);
    assert_eq!(
        (back.digest, back.version.unwrap().as_str()),
        (first.digest, "1.0.0")
    );
    assert_eq!(back.checked.unwrap().blobs, 2);
    assert_eq!(world.tag("prod").await, first.digest);
    let bytes = async |target: Target| world.repo.read_manifest(&target).await.unwrap().unwrap();
    let tagged = bytes(Target::Tag("prod".parse().unwrap())).await;
    let original = bytes(Target::Tag("1.0.0".parse().unwrap())).await;
    assert_eq!(tagged, original);

    let report = world.audit().await;
    assert!(report.ok, "{report:?}");
    assert_eq!(
        (
            report.checked.entries,
            report.checked.releases,
            report.checked.channels
        ),
        (4, 2, 1)
    );
    let rows = query::history(&world.open().await, None);
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(kinds, ["rollback", "release", "release", "genesis"]);
    assert_eq!(rows[0].previous, second.digest);
}

#[tokio::test]
async fn a_rollback_repeated_is_one_entry_and_the_next_step_is_named() {
    let world = World::new();
    world.init().await;
    for name in ["1.0.0", "2.0.0", "3.0.0"] {
        world.release(name, &["prod"]).await;
    }
    world.rollback("prod").await;
    for _ in 0..3 {
        let again = world.rollback("prod").await;
        assert!(!again.changed);
        let [Note::AlreadyRolledBack { left, now, .. }] = &again.notes[..] else {
            panic!("{:?}", again.notes);
        };
        assert_eq!(
            (left.as_ref().unwrap().label(), now.label()),
            ("3.0.0".to_owned(), "2.0.0".to_owned())
        );
    }
    assert_eq!(world.open().await.view().records().len(), 5);
    let further = RollbackRequest {
        leave: Some(version("2.0.0")),
        ..back("prod")
    };
    assert!(world.try_rollback(&further).await.unwrap().changed);
    assert_eq!(world.shows("prod").await.unwrap(), "1.0.0");
    let again = world.try_rollback(&further).await.unwrap();
    assert!(!again.changed && matches!(again.notes[..], [Note::AlreadyLeft { .. }]));
    let further = RollbackRequest {
        leave: Some(version("1.0.0")),
        ..back("prod")
    };
    let error = world.try_rollback(&further).await.unwrap_err();
    assert!(matches!(error, OperationError::NoWayBack { .. }) && error.class() == Class::Input);
}

#[tokio::test]
async fn a_target_can_be_a_version_a_digest_or_an_entry() {
    let world = World::new();
    world.init().await;
    let mut done = Vec::new();
    for name in ["1.0.0", "2.0.0", "3.0.0", "4.0.0"] {
        done.push(world.release(name, &["prod"]).await);
    }
    world.try_rollback(&back_to("prod", "3.0.0")).await.unwrap();
    assert_eq!(world.shows("prod").await.unwrap(), "3.0.0");
    let target = Some(RollbackTarget::Digest(done[1].digest.unwrap()));
    world
        .try_rollback(&RollbackRequest {
            target,
            ..back("prod")
        })
        .await
        .unwrap();
    assert_eq!(world.shows("prod").await.unwrap(), "2.0.0");
    let target = Some(RollbackTarget::Digest(done[0].entry.unwrap().name));
    let last = world
        .try_rollback(&RollbackRequest {
            target: target.clone(),
            ..back("prod")
        })
        .await
        .unwrap();
    assert_eq!(last.version.unwrap().as_str(), "1.0.0");
    let again = world
        .try_rollback(&RollbackRequest {
            target,
            ..back("prod")
        })
        .await
        .unwrap();
    assert!(!again.changed);
    let opened = world.open().await;
    assert!(
        opened.state().unwrap().channels[&channel("prod")]
            .trail
            .is_empty()
    );
    assert!(world.audit().await.ok);
    let nothing = Some(RollbackTarget::Digest(Digest::of(b"nothing")));
    let error = world
        .try_rollback(&RollbackRequest {
            target: nothing,
            ..back("prod")
        })
        .await
        .unwrap_err();
    assert!(matches!(error, OperationError::UnknownTarget { .. }));
}

#[tokio::test]
async fn a_held_channel_is_not_moved_and_the_release_stands() {
    let world = World::new();
    world.init().await;
    world.release("1.4.1", &["prod"]).await;
    world.release("1.4.2", &["prod"]).await;
    world.rollback_because("500s on checkout", "prod").await;
    for _ in 0..2 {
        let error = world
            .try_release("1.4.3", &["prod", "staging"])
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Conflict);
        let text = error.to_string();
        assert!(
            text.contains("prod is held since") && text.contains("500s on checkout"),
            "{text}"
        );
        assert!(text.contains("(left 1.4.2)"), "{text}");
        let hint = error.hint().unwrap();
        assert!(
            hint.ends_with("cairn resume prod, then cairn promote 1.4.3 prod"),
            "{hint}"
        );
        assert_eq!(error.done().unwrap().version.as_ref().unwrap().as_str(), "1.4.3");
    }
    assert_eq!(world.shows("prod").await.unwrap(), "1.4.1");
    assert_eq!(world.shows("staging").await.unwrap(), "1.4.3");
    assert!(world.tag("1.4.3").await.is_some());
    assert_eq!(
        world
            .try_promote("1.4.3", &["prod"], false)
            .await
            .unwrap_err()
            .class(),
        Class::Conflict
    );
    world.resume("prod").await;
    let again = world.resume("prod").await;
    assert!(!again.changed && matches!(again.notes[..], [Note::NotHeld { .. }]));
    world.try_promote("1.4.3", &["prod"], false).await.unwrap();
    assert_eq!(world.shows("prod").await.unwrap(), "1.4.3");
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn resume_as_an_option_lifts_the_hold_and_moves_in_one_entry() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod"]).await;
    world.rollback("prod").await;
    let done = world.try_promote("2", &["prod"], true).await.unwrap();
    assert!(done.changed && !done.channels[0].held);
    assert_eq!(world.shows("prod").await.unwrap(), "2");
    let no_hold = RollbackRequest {
        no_hold: true,
        ..back("prod")
    };
    assert!(!world.try_rollback(&no_hold).await.unwrap().channels[0].held);
    world.release("3", &["prod"]).await;
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn a_version_released_again_is_no_entry_and_with_another_digest_a_conflict() {
    let world = World::new();
    world.init().await;
    let first = world.release("1.0.0", &["prod"]).await;
    let again = world.release("1.0.0", &["prod"]).await;
    assert!(!again.changed && again.digest == first.digest);
    let other = world.image("other").await;
    let opened = world.open().await;
    let request = release("1.0.0", other, &["prod"]);
    let error = world
        .ledger
        .release(&opened, &world.context(), &request)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    assert_eq!(
        error.to_string(),
        format!("1.0.0 is already {}; this is {other}", first.digest.unwrap())
    );
    assert_eq!(world.open().await.view().records().len(), 2);
    assert_eq!(world.tag("prod").await, first.digest);
}

#[tokio::test]
async fn an_old_pipeline_run_again_does_not_move_the_channel_back() {
    let world = World::new();
    world.init().await;
    world.release("1.0.0", &["prod"]).await;
    let second = world.release("2.0.0", &["prod"]).await;
    let again = world.release("1.0.0", &["prod"]).await;
    assert!(
        !again.changed
            && again
                .notes
                .iter()
                .any(|note| matches!(note, Note::MovedOn { .. }))
    );
    assert_eq!(world.tag("prod").await, second.digest);
    // A channel that never showed it is moved.
    assert!(world.release("1.0.0", &["staging"]).await.changed);
    assert_eq!(world.shows("staging").await.unwrap(), "1.0.0");
}

#[tokio::test]
async fn g13_a_target_with_a_missing_blob_is_refused_before_anything_is_appended() {
    let store = Plain::damageable(World::new().repo);
    let world = World::over(store.clone());
    world.init().await;
    world.release("1.0.0", &["prod"]).await;
    let second = world.release("2.0.0", &["prod"]).await;
    // What a sealed version needs cannot be deleted; disks lose it all the same.
    let blob = Digest::of(b"layer of 1.0.0");
    assert!(world.repo.delete_blob(&blob).await.is_err());
    store.lost.lock().unwrap().insert(blob);
    let error = world.try_rollback(&back("prod")).await.unwrap_err();
    assert_eq!(error.class(), Class::Integrity);
    let OperationError::Image { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(source.digest(), blob);
    assert_eq!(world.tag("prod").await, second.digest);
    assert_eq!(world.open().await.view().records().len(), 3);
    assert_eq!(world.codes().await, ["blob-missing"]);
    let status = world.ledger.status(&world.open().await).await.unwrap();
    let way_back = status[0].way_back.as_ref().unwrap();
    assert!(way_back.ready == Some(false) && way_back.missing.as_ref().unwrap().contains(&blob.to_string()));
}

#[tokio::test]
async fn an_index_is_whole_only_with_all_its_manifests_and_their_blobs() {
    let world = World::new();
    world.init().await;
    let manifests = [
        image(&*world.repo, "amd64").await,
        image(&*world.repo, "arm64").await,
    ];
    let index = Index::images(manifests.iter().map(RawManifest::descriptor).collect());
    let index = RawManifest::new(media_type::INDEX, json::canonical(&index));
    let write = async |manifest: &RawManifest| {
        let target = Target::Digest(manifest.digest());
        world
            .repo
            .write_manifest(&target, manifest, &Condition::Always)
            .await
            .unwrap();
    };
    write(&index).await;
    write(&manifests[0]).await;
    let request = release("1.0.0", index.digest(), &["prod"]);
    let opened = world.open().await;
    let error = world
        .ledger
        .release(&opened, &world.context(), &request)
        .await
        .unwrap_err();
    let OperationError::Image { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(source.digest(), manifests[1].digest());
    write(&manifests[1]).await;
    let done = world
        .ledger
        .release(&opened, &world.context(), &request)
        .await
        .unwrap();
    let parts = done.checked.unwrap();
    assert_eq!((parts.indexes, parts.manifests, parts.blobs), (1, 2, 4));
    assert_eq!(world.tag("prod").await, Some(index.digest()));
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn unknown_names_are_errors_with_the_nearest() {
    let world = World::new();
    let error = world.try_rollback(&back("prod")).await.unwrap_err();
    assert!(matches!(error, OperationError::NoLedger { .. }));
    world.init().await;
    world.release("1.4.2", &["prod"]).await;
    world.release("1.4.3", &["prod"]).await;
    let error = world.try_rollback(&back_to("prod", "1.4.1")).await.unwrap_err();
    assert_eq!(error.class(), Class::Input);
    assert_eq!(error.hint().unwrap(), "did you mean 1.4.2 or 1.4.3?");
    let error = world.try_rollback(&back("prd")).await.unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean prod?");
    let error = world.try_promote("9", &["prod"], false).await.unwrap_err();
    assert!(matches!(error, OperationError::UnknownVersion { .. }));
}

#[tokio::test]
async fn a_key_that_may_not_is_told_who_may_before_anything_is_written() {
    let world = World::new();
    let (ci, oncall, stranger) = (key(2), key(3), key(4));
    let mut authority = Authority::single(world.key.key().clone());
    let role = |kinds: &[Kind], on: &[&str]| Role {
        kinds: Some(kinds.to_vec()),
        channels: Some(on.iter().map(|name| channel(name)).collect()),
        shown: false,
    };
    authority.keys.push(Grant {
        roles: vec![role(&[Kind::Release, Kind::Promote], &["prod"])],
        ..Grant::owner(ci.key().clone())
    });
    authority.keys.push(Grant {
        roles: vec![role(&[Kind::Rollback], &["prod"])],
        until: Some("2026-11-21T10:00:30Z".parse().unwrap()),
        ..Grant::owner(oncall.key().clone())
    });
    world
        .ledger
        .initialise(&world.context(), authority)
        .await
        .unwrap();
    for name in ["1", "2"] {
        let digest = world.image(name).await;
        let request = release(name, digest, &["prod"]);
        world
            .ledger
            .release(&world.open().await, &world.context_of(&ci), &request)
            .await
            .unwrap();
    }
    let opened = world.open().await;
    for signer in [&ci, &stranger] {
        let error = world
            .ledger
            .rollback(&opened, &world.context_of(signer), &back("prod"))
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Input);
        let hint = error.hint().unwrap();
        let (may, may_not) = (oncall.key().fingerprint(), ci.key().fingerprint());
        assert!(
            hint.contains(&format!("{} (rollback)", may.shortened())),
            "{hint}"
        );
        // Whoever may do something else there is no help.
        assert!(!hint.contains(&may_not.shortened()), "{hint}");
    }
    assert_eq!(world.open().await.view().records().len(), 3);
    let late = Context {
        at: "2026-11-21T11:00:00Z".parse().unwrap(),
        ..world.context_of(&oncall)
    };
    assert!(
        world
            .ledger
            .rollback(&opened, &late, &back("prod"))
            .await
            .is_err()
    );
    world
        .ledger
        .rollback(&opened, &world.context_of(&oncall), &back("prod"))
        .await
        .unwrap();
    assert_eq!(world.shows("prod").await.unwrap(), "1");
    assert!(world.audit().await.ok);
}

#[tokio::test]
async fn texts_that_are_too_long_are_errors_before_signing() {
    let world = World::new();
    world.init().await;
    let digest = world.image("1").await;
    let opened = world.open().await;
    let context = Context {
        reason: Some("x".repeat(501)),
        ..world.context()
    };
    let error = world
        .ledger
        .release(&opened, &context, &release("1", digest, &["prod"]))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Input);
    assert!(error.hint().unwrap().contains("reason"));
    let context = Context {
        reason: Some("x".repeat(500)),
        ..world.context()
    };
    world
        .ledger
        .release(&opened, &context, &release("1", digest, &["prod"]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_tag_that_the_ledger_does_not_know_stops_everything() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let by_hand = world.image("by hand").await;
    world.set_tag("prod", by_hand).await;
    // Without memory the ledger may be an old copy; with memory it is somebody's hand.
    let error = world.try_release("2", &["prod"]).await.unwrap_err();
    assert_eq!(error.class(), Class::Integrity);
    let opened = world.open().await;
    let policy = cairn_ledger::TrustPolicy {
        pin: None,
        remembered: opened.remember(),
    };
    let opened = world.ledger.open(&policy).await.unwrap();
    let digest = world.image("2").await;
    let error = world
        .ledger
        .release(&opened, &world.context(), &release("2", digest, &["prod"]))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    assert!(error.hint().unwrap().contains("cairn record prod"));
    assert_eq!(world.tag("prod").await, Some(by_hand));
    assert_eq!(world.open().await.view().records().len(), 2);
    assert_eq!(world.codes().await, ["tag-differs"]);
}

#[tokio::test]
async fn a_tag_moved_by_hand_to_the_previous_digest_is_put_right() {
    let world = World::new();
    world.init().await;
    let first = world.release("1", &["prod"]).await;
    let second = world.release("2", &["prod"]).await;
    world.set_tag("prod", first.digest.unwrap()).await;
    assert_eq!(world.codes().await, ["tag-differs"]);
    assert!(!world.try_promote("2", &["prod"], false).await.unwrap().changed);
    assert_eq!(world.tag("prod").await, second.digest);
}

#[tokio::test]
async fn version_tags_are_sealed_and_found_when_they_have_no_entry() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let other = world.image("other").await;
    let manifest = world.manifest(other).await;
    let tag = Target::Tag("1".parse().unwrap());
    let error = world
        .repo
        .write_manifest(&tag, &manifest, &Condition::Always)
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Sealed { .. }));
    world.set_tag("7.7", other).await;
    world.set_tag("blue", other).await;
    assert_eq!(world.codes().await, ["tag-without-entry", "tag-without-entry"]);
}

#[tokio::test]
async fn images_and_ledger_may_be_in_two_repositories() {
    let store = Memory::new();
    let name = |text: &str| text.parse::<RepositoryName>().unwrap();
    let mut world = World::over(std::sync::Arc::new(store.open(&name("team/web"))));
    let home = std::sync::Arc::new(store.open(&name("team/ledger")));
    world.ledger = cairn_ledger::Ledger::new(home.clone(), world.repo.clone());
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod"]).await;
    world.rollback("prod").await;
    assert!(world.audit().await.ok);
    assert!(world.tag("cairn-head").await.is_none());
    let head = Target::Tag("cairn-head".parse().unwrap());
    assert!(home.stat_manifest(&head).await.unwrap().is_some());
}

#[tokio::test]
async fn a_copy_is_read_and_not_appended_to() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let opened = world.open().await;
    let elsewhere: RepositoryName = "other/web".parse().unwrap();
    let copy = World::over(std::sync::Arc::new(Memory::new().open(&elsewhere)));
    let ledger = opened.state().unwrap().ledger;
    let tag = cairn_ledger::head::linear_tag();
    forge(&*copy.repo, ledger, &envelopes(&opened), &world.key, Some(tag)).await;
    assert_eq!(copy.shows("prod").await.unwrap(), "1");
    let error = copy.try_release("2", &["prod"]).await.unwrap_err();
    assert!(
        matches!(&error, OperationError::Copy { home, .. } if home == "team/web"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_dry_run_names_the_target_and_writes_nothing() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod"]).await;
    let opened = world.open().await;
    let plan = plan::rollback(&opened, "team/web", &world.context(), &back("prod")).unwrap();
    assert_eq!(plan.version.unwrap().as_str(), "1");
    assert!(plan.entry.unwrap().hold.unwrap());
    assert_eq!(world.open().await.view().records().len(), 3);
}

#[tokio::test]
async fn status_and_show_say_who_when_and_why() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod"]).await;
    world.rollback_because("slow", "prod").await;
    world.release("3", &["staging"]).await;
    let opened = world.open().await;
    let status = world.ledger.status(&opened).await.unwrap();
    let names: Vec<String> = status.iter().map(|row| row.name.to_string()).collect();
    assert_eq!(names, ["prod", "staging"]);
    let prod = &status[0];
    assert!(prod.agrees == Some(true) && prod.reason.as_deref() == Some("slow") && prod.way_back.is_none());
    assert_eq!(prod.held.as_ref().unwrap().left.as_deref(), Some("2"));
    let one = query::show(&opened, &version("1")).unwrap();
    assert_eq!(
        (one.standing, one.bound.len(), one.shown_by.len()),
        ("released", 1, 1)
    );
    assert!(query::show(&opened, &version("9")).is_none());
    let rows = query::history(&opened, Some(&channel("staging")));
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn a_tag_where_the_versions_tag_belongs_stops_a_release_before_it_is_appended() {
    let world = World::new();
    world.init().await;
    let other = world.image("other").await;
    world.set_tag("1.0.0", other).await;
    let error = world.try_release("1.0.0", &["prod"]).await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    assert_eq!(world.open().await.view().records().len(), 1);
    assert_eq!(world.tag("1.0.0").await, Some(other));
}

#[tokio::test]
async fn a_longer_ledger_shares_its_packs_and_an_append_moves_one_small_one() {
    let world = World::new();
    world.init().await;
    let opened = world.open().await;
    let digest = world.image("1").await;
    let mut list = envelopes(&opened);
    for number in 0..252_u8 {
        let mut release = entry(&opened, Kind::Release, number);
        release.version = Some(version(&format!("1.{number}")));
        release.digest = Some(digest);
        list.push(release.sign(&world.key).unwrap().bytes().clone());
    }
    forge_linear(&world, &list, &world.key).await;
    let mut layers = Vec::new();
    for number in 253..259 {
        world.release(&format!("2.{number}"), &[]).await;
        let head = Target::Tag("cairn-head".parse().unwrap());
        let head = world.repo.read_manifest(&head).await.unwrap().unwrap();
        let cairn_oci::Document::Manifest(head) = head.document().unwrap() else {
            panic!("an index")
        };
        layers.push(head.layers.iter().map(|pack| pack.digest).collect::<Vec<_>>());
    }
    let sizes: Vec<usize> = layers.iter().map(Vec::len).collect();
    // 254 and 255 are fifteen packs of 16 and a tail; 256 is one pack; then a tail again.
    assert_eq!(sizes, [16, 16, 1, 2, 2, 2]);
    assert_eq!(layers[0][..15], layers[1][..15]);
    assert_eq!((layers[2][0], layers[3][0]), (layers[3][0], layers[5][0]));
    let opened = world.open().await;
    assert_eq!(opened.view().records().len(), 259);
    assert_eq!(opened.state().unwrap().versions.len(), 258);
}
