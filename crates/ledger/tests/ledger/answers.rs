//! Answers: pages and filters of the history, the channels at another time, blue and green, what a digest is.

use cairn_ledger::entry::{Actor, Entry, How, Kind, Move, Run, Source};
use cairn_ledger::operation::*;
use cairn_ledger::query::{self, HistoryFilter, Part, Sought};
use cairn_oci::{Descriptor, Digest, Index, Manifest, Platform, json, media_type};
use cairn_store::{Condition, RawManifest, Target};
use jiff::Timestamp;

use crate::support::*;

/// Appends an entry that was made by hand.
async fn append(world: &World, entry: &Entry) {
    let opened = world.open().await;
    let mut all = envelopes(&opened);
    all.push(entry.sign(&world.key).unwrap().bytes().clone());
    forge_linear(world, &all, &world.key).await;
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn seqs(page: &query::HistoryPage) -> Vec<u64> {
    page.rows.iter().map(|row| row.seq).collect()
}

#[tokio::test]
async fn the_history_is_shown_in_pages_that_leave_nothing_out() {
    let world = World::new();
    world.init().await;
    for name in ["1", "2", "3", "4", "5"] {
        world.release(name, &["prod"]).await;
    }
    world.rollback("prod").await;
    let opened = world.open().await;
    let mut filter = HistoryFilter {
        limit: Some(3),
        ..HistoryFilter::default()
    };
    let mut all = Vec::new();
    loop {
        let page = query::history_page(&opened, &filter);
        assert!(page.rows.len() <= 3);
        all.extend(page.rows.clone());
        let Some(before) = page.next() else { break };
        assert_eq!(page.older, before);
        filter.before = Some(before);
    }
    assert_eq!(all, query::history(&opened, None));
    // What a channel showed before is known on every page.
    assert_eq!(all[0].previous, all[1].digest);
    assert_eq!((all[5].previous, all[4].previous), (None, all[5].digest));
}

#[tokio::test]
async fn filters_hold_all_at_once() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["staging"]).await;
    world.try_promote("2", &["prod"], false).await.unwrap();
    world.rollback("prod").await;
    world.resume("prod").await;
    let opened = world.open().await;
    let find = |filter: HistoryFilter| seqs(&query::history_page(&opened, &filter));
    let all = HistoryFilter::default;
    assert_eq!(
        find(HistoryFilter {
            channels: vec![channel("prod")],
            ..all()
        }),
        [5, 4, 3, 1]
    );
    let both = vec![channel("prod"), channel("staging")];
    assert_eq!(
        find(HistoryFilter {
            channels: both,
            ..all()
        }),
        [5, 4, 3, 2, 1]
    );
    assert_eq!(
        find(HistoryFilter {
            version: Some(version("2")),
            ..all()
        }),
        [3, 2]
    );
    let kinds = vec![Kind::Release, Kind::Rollback];
    assert_eq!(
        find(HistoryFilter {
            kinds: kinds.clone(),
            ..all()
        }),
        [4, 2, 1]
    );
    let prod = vec![channel("prod")];
    assert_eq!(
        find(HistoryFilter {
            kinds,
            channels: prod,
            ..all()
        }),
        [4, 1]
    );
    let times: Vec<Timestamp> = opened.view().records().iter().map(|one| one.entry.at).collect();
    let between = HistoryFilter {
        since: Some(times[2]),
        until: Some(times[4]),
        ..all()
    };
    assert_eq!(find(between), [4, 3, 2]);
    let by = |actor: &str| {
        find(HistoryFilter {
            actor: Some(actor.to_owned()),
            ..all()
        })
    };
    assert_eq!(by("YO").len(), 6);
    assert_eq!(by("nobody").len(), 0);
    let key = query::history(&opened, None)[0].key.unwrap().to_string();
    assert_eq!(by(&key[..14]).len(), 6);
}

#[tokio::test]
async fn the_channels_of_another_time_are_the_state_up_to_then() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    world.release("2", &["prod", "staging"]).await;
    world.rollback("prod").await;
    let opened = world.open().await;
    let times: Vec<Timestamp> = opened.view().records().iter().map(|one| one.entry.at).collect();
    let shown = |time| -> Vec<(String, String)> {
        let past = query::status_at(&opened, time).unwrap();
        past.rows
            .iter()
            .map(|row| (row.name.to_string(), row.version.as_ref().unwrap().to_string()))
            .collect()
    };
    let pair = |channel: &str, version: &str| (channel.to_owned(), version.to_owned());
    assert_eq!(shown(times[1]), [pair("prod", "1")]);
    assert_eq!(shown(times[2]), [pair("prod", "2"), pair("staging", "2")]);
    assert_eq!(
        shown(at("2030-01-01T00:00:00Z")),
        [pair("prod", "1"), pair("staging", "2")]
    );
    assert!(query::status_at(&opened, at("2020-01-01T00:00:00Z")).is_none());
    let past = query::status_at(&opened, times[2]).unwrap();
    let prod = &past.rows[0];
    assert_eq!((past.seq, past.later, prod.seq), (2, 0, Some(2)));
    assert!(prod.held.is_none(), "it was held later");
    assert_eq!(
        (prod.agrees, prod.tag),
        (None, None),
        "nobody knows what the tag showed then"
    );
    let back = prod.way_back.as_ref().unwrap();
    assert_eq!((back.version.as_ref().unwrap().as_str(), back.ready), ("1", None));
}

#[tokio::test]
async fn g12_a_clock_that_goes_back_is_said_and_order_decides() {
    let world = World::new();
    world.init().await;
    world.release("1", &["prod"]).await;
    let digest = world.release("2", &[]).await.digest.unwrap();
    let opened = world.open().await;
    let promote = Entry {
        version: Some(version("2")),
        digest: Some(digest),
        moves: one_move(&opened, "prod"),
        at: at("2026-11-20T00:00:00Z"),
        ..entry(&opened, Kind::Promote, 9)
    };
    append(&world, &promote).await;
    let opened = world.open().await;
    let past = query::status_at(&opened, at("2026-11-20T12:00:00Z")).unwrap();
    assert_eq!(
        (past.seq, past.later),
        (3, 3),
        "the entries before it say a day later"
    );
    assert_eq!(past.rows[0].version, Some(version("2")));
    assert_eq!(query::history(&opened, None)[0].seq, 3);
}

#[tokio::test]
async fn slots_are_live_or_idle_also_after_a_rollback() {
    let world = World::new();
    world.init().await;
    let blue = world.release("1", &["blue"]).await.digest.unwrap();
    let green = world.release("2", &["green"]).await.digest.unwrap();
    let switch = async |slot: &str, name: &str, digest: Digest, nonce| {
        let opened = world.open().await;
        let after = opened.state().unwrap().last_entry(&channel(slot));
        let entry = Entry {
            version: Some(version(name)),
            digest: Some(digest),
            moves: one_move(&opened, "live"),
            from: Some(Move {
                channel: channel(slot),
                after,
            }),
            ..entry(&opened, Kind::Switch, nonce)
        };
        append(&world, &entry).await;
    };
    let slots = async || -> Vec<(String, Option<bool>)> {
        let rows = world.ledger.status(&world.open().await).await.unwrap();
        rows.iter()
            .map(|row| (row.name.to_string(), row.slot_of.first().map(|slot| slot.live)))
            .collect()
    };
    let of = |name: &str, live: Option<bool>| (name.to_owned(), live);
    assert_eq!(
        slots().await,
        [of("blue", None), of("green", None)],
        "before any switch"
    );
    switch("blue", "1", blue, 1).await;
    switch("green", "2", green, 2).await;
    let live = [of("blue", Some(false)), of("green", Some(true)), of("live", None)];
    assert_eq!(slots().await, live);
    // The slot that is idle moves on; what was live before is still the way back.
    world.release("3", &["blue"]).await;
    world.rollback("live").await;
    assert_eq!(world.shows("live").await.unwrap(), "1");
    let idle = [
        of("blue", Some(false)),
        of("green", Some(false)),
        of("live", None),
    ];
    assert_eq!(slots().await, idle);
}

/// An index of two platforms whose manifests and configs nobody else has.
pub(crate) async fn index(world: &World, text: &str) -> (Digest, Vec<(String, Digest, Digest)>) {
    let (mut children, mut parts) = (Vec::new(), Vec::new());
    for name in ["linux/amd64", "linux/arm64"] {
        let manifest = image(&*world.repo, &format!("{text} {name}")).await;
        let target = Target::Digest(manifest.digest());
        world
            .repo
            .write_manifest(&target, &manifest, &Condition::Always)
            .await
            .unwrap();
        let config = Manifest::clone(match &manifest.document().unwrap() {
            cairn_oci::Document::Manifest(manifest) => manifest,
            cairn_oci::Document::Index(_) => panic!("an image"),
        })
        .config
        .digest;
        let platform: Platform = name.parse().unwrap();
        parts.push((name.to_owned(), manifest.digest(), config));
        children.push(Descriptor {
            platform: Some(platform),
            ..manifest.descriptor()
        });
    }
    let index = RawManifest::new(media_type::INDEX, json::canonical(&Index::images(children)));
    let target = Target::Digest(index.digest());
    world
        .repo
        .write_manifest(&target, &index, &Condition::Always)
        .await
        .unwrap();
    (index.digest(), parts)
}

#[tokio::test]
async fn a_digest_that_was_seen_leads_to_its_release_whatever_part_it_is() {
    let world = World::new();
    world.init().await;
    let (first, parts) = index(&world, "1").await;
    let opened = world.open().await;
    let done = world
        .ledger
        .release(&opened, &world.context(), &release("1", first, &["prod"]))
        .await;
    done.unwrap();
    let second = world.release("2", &["prod"]).await.digest.unwrap();
    let opened = world.open().await;
    let which = async |sought: Sought| world.ledger.which(&opened, &sought).await.unwrap();

    let whole = which(Sought::Digest(first)).await;
    assert_eq!(whole.found.len(), 1);
    assert_eq!(
        (whole.found[0].part.clone(), whole.searched.opened),
        (Part::Image, 0)
    );
    assert_eq!(whole.found[0].versions[0].version, version("1"));
    assert!(whole.found[0].shown_by.is_empty());
    let stay = &whole.found[0].stays[0];
    assert_eq!((stay.channel.as_str(), stay.seq), ("prod", 1));
    assert!(stay.until.is_some());

    for (platform, manifest, config) in parts {
        let platform = Some(platform);
        let found = which(Sought::Digest(manifest)).await.found;
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].part,
            Part::Manifest {
                platform: platform.clone(),
                manifest
            }
        );
        assert_eq!(found[0].digest, first);
        let short = Sought::Prefix(config.hex()[..12].to_owned());
        let found = which(short).await.found;
        assert_eq!(found[0].part, Part::Config { platform, config });
        assert_eq!(found[0].versions[0].version, version("1"));
    }
    let tag = which(Sought::Tag("prod".parse().unwrap())).await;
    assert_eq!((tag.tag, tag.found[0].digest), (Some(second), second));
    assert_eq!(tag.found[0].shown_by, [channel("prod")]);

    let unknown = which(Sought::Digest(Digest::of(b"something else"))).await;
    assert!(unknown.found.is_empty());
    assert_eq!(
        (
            unknown.searched.images,
            unknown.searched.opened,
            unknown.searched.absent
        ),
        (2, 2, 0)
    );
    let no_tag = which(Sought::Tag("build-812".parse().unwrap())).await;
    assert!(no_tag.tag.is_none() && no_tag.found.is_empty());
}

#[tokio::test]
async fn a_release_knows_where_it_was_shown() {
    let world = World::new();
    world.init().await;
    world.release("1", &["staging"]).await;
    world.try_promote("1", &["prod"], false).await.unwrap();
    world.release("2", &["staging", "prod"]).await;
    world.rollback("prod").await;
    let shown = query::show(&world.open().await, &version("1")).unwrap();
    let stays: Vec<_> = shown
        .stays
        .iter()
        .map(|stay| (stay.channel.to_string(), stay.seq, stay.until.is_none()))
        .collect();
    let stay = |channel: &str, seq, now| (channel.to_owned(), seq, now);
    assert_eq!(
        stays,
        [
            stay("prod", 4, true),
            stay("prod", 2, false),
            stay("staging", 1, false)
        ]
    );
    assert_eq!(shown.shown_by, [channel("prod")]);
}

/// As many channels as an entry can move, with names as long as they can be, and a pipeline that says as much as it can.
#[tokio::test]
async fn what_a_pipeline_says_never_keeps_a_move_from_being_signed() {
    let world = World::new();
    world.init().await;
    let digest = world.image("1").await;
    let names: Vec<String> = (0..16).map(|n| format!("{}-{n:02}", "c".repeat(60))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let long = |quote: &str| Some(quote.repeat(256 / quote.len()));
    let context = || Context {
        actor: Actor {
            id: long("größe\"").unwrap(),
            how: How::Claimed,
        },
        run: Some(Run {
            url: long("\\"),
            id: long("\""),
        }),
        source: Some(Source {
            repository: long("\""),
            path: long("\\"),
            commit: Some("ffac537e6cbbf934b08745a378932722df287a53".to_owned()),
            reference: long("\""),
            dirty: Some(false),
        }),
        ..world.context()
    };
    for (name, to) in [("1", &names[..]), ("1-b", &names[..1])] {
        let opened = world.open().await;
        let done = world
            .ledger
            .release(&opened, &context(), &release(name, digest, to))
            .await;
        assert!(done.unwrap().changed);
    }
    let rows = query::history(&world.open().await, None);
    assert_eq!(
        rows[0].run.as_ref().unwrap().url,
        long("\\"),
        "there was room for all of it"
    );
    assert!(rows[1].run.is_none());
    assert_eq!(
        rows[1].source.as_ref().unwrap().commit.as_ref().unwrap().len(),
        40,
        "what matters most stays"
    );
    assert_eq!(rows[1].channels.len(), 16);
}
