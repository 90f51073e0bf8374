//! The process is killed at any moment (E1): what it acknowledged is there afterwards.

#![expect(
    clippy::disallowed_methods,
    reason = "the test runs itself as the process that is killed"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use cairn_oci::Digest;
use cairn_store::{Directory, Repository, Store, from_bytes};

use crate::content::{Random, assert_whole, has_blob, image, name, open, points_at, push};

const STORE: &str = "CAIRN_TEST_KILL_STORE";
const ROUND: &str = "CAIRN_TEST_KILL_ROUND";
const ROUNDS: u64 = 24;

/// The process that is killed. Does nothing in an ordinary run.
#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let (Some(path), Ok(round)) = (std::env::var_os(STORE), std::env::var(ROUND)) else {
        return;
    };
    let store = Directory::open(path).unwrap();
    let repository = store.open_repository(&name());
    println!("\nready");
    for number in 0.. {
        let image = image(&label(&round, number));
        push(&repository, &format!("v{round}-{number}"), &image)
            .await
            .unwrap();
        println!("tag v{round}-{number} {}", image.manifest.digest());
        push(&repository, "moving", &image).await.unwrap();
        println!("tag moving {}", image.manifest.digest());
        println!(
            "blob - {}",
            upload(&store, &format!("upload {round} {number}")).await
        );
        store.flush().await.unwrap();
    }
}

fn label(round: &str, number: u64) -> String {
    format!("{round} {number}")
}

async fn upload(store: &Directory, content: &str) -> Digest {
    let digest = Digest::of(content.as_bytes());
    let id = store.begin_upload(&name()).await.unwrap();
    store
        .append_upload(&name(), &id, 0, from_bytes(content.to_owned()))
        .await
        .unwrap();
    store.finish_upload(&name(), &id, &digest).await.unwrap();
    digest
}

/// Runs the child until it has acknowledged `count` things, kills it, and returns its complete lines.
fn run_and_kill(store: &Path, round: u64, count: u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "kill::child_writes_until_it_is_killed",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(STORE, store)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..count + 8 {
        if output.read_line(&mut text).unwrap() == 0 {
            break;
        }
        let acknowledged = text.lines().filter(|line| is_acknowledgement(line)).count() as u64;
        if acknowledged >= count {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    output.read_to_string(&mut text).unwrap();
    // A line without its end was not said.
    let said = text.rfind('\n').map_or("", |end| &text[..end]);
    said.lines()
        .filter(|line| is_acknowledgement(line))
        .map(str::to_owned)
        .collect()
}

fn is_acknowledgement(line: &str) -> bool {
    line.starts_with("tag ") || line.starts_with("blob ")
}

#[tokio::test]
async fn e1_e9_what_was_acknowledged_survives_kill_9() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random(seed);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let (mut tags, mut blobs) = (BTreeMap::new(), Vec::new());
    for round in 0..ROUNDS {
        let lines = run_and_kill(&path, round, 1 + random.below(20));
        assert!(!lines.is_empty(), "round {round}: the child acknowledged nothing");
        for line in &lines {
            let parts: Vec<&str> = line.split(' ').collect();
            let digest: Digest = parts[2].parse().unwrap();
            match parts[0] {
                "tag" => drop(tags.insert(parts[1].to_owned(), digest)),
                _ => blobs.push(digest),
            }
        }
        let begun = lines.iter().filter(|line| line.starts_with("tag v")).count() as u64;
        check(&*open(&path), &mut tags, &blobs, round, begun).await;
        Directory::open(&path).unwrap().flush_all().await.unwrap();
    }
    println!(
        "{} tags and {} uploads acknowledged in {ROUNDS} rounds",
        tags.len(),
        blobs.len()
    );
}

async fn check(
    repository: &dyn Repository,
    tags: &mut BTreeMap<String, Digest>,
    blobs: &[Digest],
    round: u64,
    begun: u64,
) {
    assert_whole(repository).await;
    // The move that was under way when the child died may or may not have been made.
    let shown = points_at(repository, "moving").await;
    for number in begun.saturating_sub(1)..=begun {
        let under_way = image(&label(&round.to_string(), number)).manifest.digest();
        if shown == Some(under_way) {
            tags.insert("moving".to_owned(), under_way);
        }
    }
    for (tag, digest) in &*tags {
        assert_eq!(
            points_at(repository, tag).await,
            Some(*digest),
            "round {round}: tag {tag}"
        );
    }
    for digest in blobs {
        assert!(
            has_blob(repository, *digest).await,
            "round {round}: the upload {digest} is gone"
        );
    }
}
