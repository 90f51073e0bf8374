//! E1: `cairn serve`, ended by `kill -9` while clients push to it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use cairn_oci::{Digest, Tag};
use cairn_registry::client::{Client, ClientConfig, Remote, Retries};
use cairn_store::{Condition, RawManifest, Repository, Target, collect, from_bytes};
use tokio::runtime::Runtime;

use crate::harness::{LIMIT, Random, Sandbox, Server, Tree};

/// How often the server is ended.
const KILLS: u64 = 30;
/// How many push at once, each to a repository of its own and one that all share.
const CLIENTS: u64 = 3;

const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Something that a client asks the server to keep.
#[derive(Debug, Clone)]
enum Content {
    Blob {
        repository: String,
        bytes: Vec<u8>,
    },
    Manifest {
        repository: String,
        tag: String,
        bytes: Vec<u8>,
    },
}

/// What a client notes, outside the store.
#[derive(Debug)]
enum Note {
    /// About to ask.
    Begun(u64, Content),
    /// The server said that it is done.
    Acknowledged(u64),
}

/// What is known of the server's content.
#[derive(Default)]
struct Journal {
    begun: BTreeMap<u64, Content>,
    acknowledged: BTreeMap<u64, Content>,
    tags: BTreeMap<(String, String), Shown>,
}

/// What is known of a tag. Each has one writer, so what was acknowledged overwrote what came before it.
#[derive(Default)]
struct Shown {
    acknowledged: Option<Digest>,
    begun: Vec<Digest>,
}

impl Journal {
    fn note(&mut self, note: Note) {
        match note {
            Note::Begun(id, content) => {
                if let Some((shown, digest)) = self.tag(&content) {
                    shown.begun.push(digest);
                }
                self.begun.insert(id, content);
            }
            Note::Acknowledged(id) => {
                let content = self.begun.remove(&id).expect("it was begun");
                if let Some((shown, digest)) = self.tag(&content) {
                    shown.acknowledged = Some(digest);
                    shown.begun.clear();
                }
                self.acknowledged.insert(id, content);
            }
        }
    }

    fn tag(&mut self, content: &Content) -> Option<(&mut Shown, Digest)> {
        let Content::Manifest {
            repository,
            tag,
            bytes,
        } = content
        else {
            return None;
        };
        let shown = self.tags.entry((repository.clone(), tag.clone()));
        Some((shown.or_default(), Digest::of(bytes)))
    }
}

fn client(host: &str, repository: &str) -> Remote {
    let retries = Retries {
        attempts: 1,
        ..Retries::default()
    };
    let config = ClientConfig {
        retries,
        ..ClientConfig::default()
    };
    let name = repository.parse().expect("a name");
    Client::new(config).repository(host, name).expect("a host")
}

fn digest_of(bytes: &[u8]) -> Target {
    Target::Digest(Digest::of(bytes))
}

async fn push_blob(remote: &Remote, bytes: &[u8]) -> bool {
    let content = from_bytes(bytes.to_vec());
    let digest = Digest::of(bytes);
    let written = remote.write_blob(&digest, bytes.len() as u64, content);
    written.await.is_ok()
}

async fn push_manifest(remote: &Remote, tag: &str, bytes: &[u8]) -> bool {
    let tag: Tag = tag.parse().expect("a tag");
    let manifest = RawManifest::new(MEDIA_TYPE, bytes.to_vec());
    let target = Target::Tag(tag);
    let written = remote.write_manifest(&target, &manifest, &Condition::Always);
    written.await.is_ok()
}

/// The manifest of an image whose configuration and layer are these.
fn manifest(config: &[u8], layer: &[u8]) -> Vec<u8> {
    let descriptor = |media_type: &str, bytes: &[u8]| serde_json::json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    document.to_string().into_bytes()
}

/// One client: two blobs and the manifest that names them, and again, until the server is gone.
struct Pusher {
    number: u64,
    host: String,
    random: Random,
    notes: Sender<Note>,
    next: u64,
}

impl Pusher {
    fn run(mut self, runtime: &Runtime) {
        let own = format!("load/client-{}", self.number);
        let mut round = 0;
        loop {
            round += 1;
            let repository = if round % 2 == 0 {
                "load/shared".to_owned()
            } else {
                own.clone()
            };
            let remote = client(&self.host, &repository);
            let config = self.some_bytes(2_000);
            let layer = self.some_bytes(400_000);
            let document = manifest(&config, &layer);
            // Its own tag, and one that moves.
            let tags = [
                format!("t-{}-{}", self.number, self.next),
                format!("moving-{}", self.number),
            ];
            for bytes in [config, layer] {
                let content = Content::Blob {
                    repository: repository.clone(),
                    bytes: bytes.clone(),
                };
                if !self.tried(content, || runtime.block_on(push_blob(&remote, &bytes))) {
                    return;
                }
            }
            for tag in tags {
                let content = Content::Manifest {
                    repository: repository.clone(),
                    tag: tag.clone(),
                    bytes: document.clone(),
                };
                if !self.tried(content, || {
                    runtime.block_on(push_manifest(&remote, &tag, &document))
                }) {
                    return;
                }
            }
        }
    }

    fn some_bytes(&mut self, limit: u64) -> Vec<u8> {
        let length = 1 + self.random.below(limit) as usize;
        self.random.bytes(length)
    }

    /// Notes the attempt, makes it, notes the answer.
    fn tried(&mut self, content: Content, push: impl FnOnce() -> bool) -> bool {
        let id = self.next;
        self.next += 1;
        self.notes
            .send(Note::Begun(id, content))
            .expect("the test listens");
        if !push() {
            return false;
        }
        self.notes.send(Note::Acknowledged(id)).expect("the test listens");
        true
    }
}

/// Lets clients push until `count` things are acknowledged, ends the server at that moment, and reads the notes to the end.
fn push_and_kill(server: &mut Server, round: u64, count: u64, random: &mut Random, journal: &mut Journal) {
    let (sender, notes) = channel();
    let pushers: Vec<_> = (0..CLIENTS)
        .map(|number| Pusher {
            number,
            host: server.host().to_owned(),
            random: random.fork(),
            notes: sender.clone(),
            next: (round * CLIENTS + number) << 32,
        })
        .collect();
    drop(sender);
    thread::scope(|scope| {
        for pusher in pushers {
            scope.spawn(|| pusher.run(&Runtime::new().expect("a runtime")));
        }
        read_acknowledged(&notes, count, journal);
        server.kill9();
        for note in &notes {
            journal.note(note);
        }
    });
}

fn read_acknowledged(notes: &Receiver<Note>, count: u64, journal: &mut Journal) {
    let mut acknowledged = 0;
    while acknowledged < count {
        let note = notes
            .recv_timeout(LIMIT)
            .expect("clients push until the server is gone");
        acknowledged += u64::from(matches!(note, Note::Acknowledged(_)));
        journal.note(note);
    }
}

/// Everything acknowledged is there, and what was not is whole or not there at all.
async fn check(host: &str, journal: &Journal, since: u64) {
    for (_, content) in journal.acknowledged.range(since..) {
        assert!(
            holds(host, content).await,
            "acknowledged, and lost: {}",
            about(content)
        );
    }
    for (_, content) in journal.begun.range(since..) {
        holds(host, content).await;
    }
    for ((repository, tag), shown) in &journal.tags {
        let remote = client(host, repository);
        let target = Target::Tag(tag.parse().expect("a tag"));
        let found = remote.stat_manifest(&target).await.expect("the server answers");
        let found = found.map(|descriptor| descriptor.digest);
        assert!(
            found == shown.acknowledged || found.is_some_and(|digest| shown.begun.contains(&digest)),
            "{repository}:{tag} shows {found:?}; acknowledged was {:?}, begun {:?}",
            shown.acknowledged,
            shown.begun
        );
    }
}

fn about(content: &Content) -> String {
    match content {
        Content::Blob { repository, bytes } => {
            format!("{repository}@{} ({} bytes)", Digest::of(bytes), bytes.len())
        }
        Content::Manifest {
            repository,
            tag,
            bytes,
        } => format!("{repository}:{tag}@{}", Digest::of(bytes)),
    }
}

/// Whether it is there. If it is, its bytes are right, to the last.
async fn holds(host: &str, content: &Content) -> bool {
    match content {
        Content::Blob { repository, bytes } => {
            let remote = client(host, repository);
            let blob = remote
                .read_blob(&Digest::of(bytes), None)
                .await
                .expect("the server answers");
            let Some(blob) = blob else {
                return false;
            };
            let found = collect(blob.content, bytes.len() as u64 + 1).await;
            assert_eq!(found.expect("a blob is whole"), bytes, "{}", about(content));
            true
        }
        Content::Manifest {
            repository, bytes, ..
        } => {
            let remote = client(host, repository);
            let found = remote
                .read_manifest(&digest_of(bytes))
                .await
                .expect("the server answers");
            let Some(found) = found else {
                return false;
            };
            assert_eq!(found.bytes(), bytes, "{}", about(content));
            true
        }
    }
}

/// Every blob in the store's files is what its name says.
fn blobs_are_whole(tree: &Tree) -> usize {
    let blobs = tree.files("blobs");
    for path in &blobs {
        let digest = tree.0[*path].expect("a file has a digest");
        assert!(path.ends_with(digest.hex()), "{} is {digest}", path.display());
    }
    blobs.len()
}

#[test]
fn e1_killed_server_loses_nothing_that_it_acknowledged() {
    let mut random = Random::new();
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve();
    let runtime = Runtime::new().unwrap();
    let mut journal = Journal::default();
    for round in 0..KILLS {
        let count = 1 + random.below(20);
        push_and_kill(&mut server, round, count, &mut random, &mut journal);
        if random.below(5) == 0 {
            // Ended again while it starts, at whatever it does first.
            let mut again = sandbox.command(["serve", "--listen", "127.0.0.1:0"]);
            let mut child = crate::harness::spawn(&mut again);
            thread::sleep(Duration::from_micros(random.below(20_000)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        server.restart();
        runtime.block_on(check(server.host(), &journal, (round * CLIENTS) << 32));
    }
    runtime.block_on(check(server.host(), &journal, 0));
    let blobs = blobs_are_whole(&sandbox.store_tree());
    assert!(blobs as u64 > KILLS, "something was pushed: {blobs}");
    println!(
        "{KILLS} kills, {} acknowledged, {} not",
        journal.acknowledged.len(),
        journal.begun.len()
    );
    assert!(!journal.begun.is_empty(), "no kill fell into an upload");
}
