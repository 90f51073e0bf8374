//! A base that is in a registry: its layers are fetched only where they are needed.

use std::fs;

use cairn_oci::Digest;
use serde_json::Value;

use crate::harness::{Exchange, Project, Proxy, Random, Sandbox, Server};

/// A registry with the base `team/base:12`, and the digest of its one layer of about 300 kB.
struct Registry {
    sandbox: Sandbox,
    layer: String,
}

impl Registry {
    fn with_base() -> Self {
        let sandbox = Sandbox::new();
        let content = Random::new().bytes(300_000);
        sandbox.write("library", content);
        sandbox.write(
            "cairn.toml",
            "[image]\nname = \"team/base\"\nplatforms = [\"linux/amd64\"]\n\n\
             [[layer]]\nname = \"library\"\ncopy = [{ from = \"library\", to = \"/usr/lib/library\" }]\n",
        );
        sandbox.cairn(["build"]).ok();
        sandbox.cairn(["copy", "team/base:built", "team/base:12"]).ok();
        let layer = sandbox.layer("team/base:12");
        Self { sandbox, layer }
    }

    fn serve(&self) -> Server {
        self.sandbox.serve()
    }
}

/// A project on the base behind `proxy`, locked elsewhere: the store here is empty.
fn locked(proxy: &Proxy, repository: &str) -> Sandbox {
    let project = Project::new().repository(repository).with(&format!(
        "\n[base]\nimage = \"{}:12\"\n",
        proxy.repository("team/base")
    ));
    let (elsewhere, here) = (Sandbox::new(), Sandbox::new());
    for sandbox in [&elsewhere, &here] {
        sandbox.write_project(&project, "1");
    }
    elsewhere.cairn(["lock"]).ok();
    let lock = fs::read(elsewhere.project().join("cairn.lock")).expect("a lock");
    here.write("cairn.lock", lock);
    proxy.exchanges();
    here
}

/// The requests for the content of a blob.
fn reads<'e>(exchanges: &'e [Exchange], digest: &str) -> Vec<&'e Exchange> {
    let path = format!("/blobs/{digest} ");
    let reads = exchanges
        .iter()
        .filter(|exchange| exchange.line.starts_with("GET ") && exchange.line.contains(&path));
    reads.collect()
}

fn sum(exchanges: &[Exchange], of: impl Fn(&Exchange) -> u64) -> u64 {
    exchanges.iter().map(of).sum()
}

fn count(document: &Value, which: &str) -> u64 {
    document[which]["blobs"].as_u64().expect("a number")
}

/// The base's layer is nowhere in the sandbox's store.
#[track_caller]
fn has_no(sandbox: &Sandbox, layer: &str) {
    let cached = sandbox
        .store()
        .join("cache/sha256")
        .join(layer.trim_start_matches("sha256:"));
    assert!(
        !sandbox.blob("hello", layer).exists(),
        "the base's layer was stored"
    );
    assert!(!cached.exists(), "the base's layer was cached");
}

#[test]
fn a_push_beside_the_base_moves_none_of_its_layers() {
    let registry = Registry::with_base();
    let server = registry.serve();
    let proxy = Proxy::start(server.host());
    let repository = proxy.repository("team/hello");
    // First the registry mounts the layer; then it has it. Each time from a store that has nothing.
    let mut digests = Vec::new();
    for _ in 0..2 {
        let sandbox = locked(&proxy, &repository);
        let pushed = sandbox
            .cairn(["--json", "push", "--locked", "--tag", "1"])
            .ok()
            .says("1 layer, 3")
            .says("left in");
        let exchanges = proxy.exchanges();
        assert!(reads(&exchanges, &registry.layer).is_empty(), "{exchanges:#?}");
        let (sent, received) = (
            sum(&exchanges, |one| one.sent),
            sum(&exchanges, |one| one.received),
        );
        assert!(
            sent < 20_000 && received < 40_000,
            "{sent} and {received} bytes: {exchanges:#?}"
        );
        has_no(&sandbox, &registry.layer);
        sandbox.cairn(["inspect", "hello:built"]).fails(1);
        digests.push(pushed.json()["digest"].clone());
    }
    assert_eq!(digests[0], digests[1]);
    let sandbox = locked(&proxy, &repository);
    let image = format!("{repository}:1");
    sandbox.cairn(["verify", &image]).ok().prints("whole");
    proxy.exchanges();

    // Whoever builds to keep the image is told what that costs, gets the base, and gets the same image.
    let built = sandbox.cairn(["build", "--locked"]).ok().says("to fetch from");
    assert_eq!(digests[0], built.digest());
    let exchanges = proxy.exchanges();
    assert_eq!(reads(&exchanges, &registry.layer).len(), 1);
    sandbox.cairn(["verify"]).ok().prints("whole");
    let again = sandbox.cairn(["--json", "push", "--locked"]).ok().json();
    assert_eq!(count(&again, "uploaded"), 0);
    sandbox.cairn(["inspect", "hello:built"]).ok();
}

#[test]
fn a_push_elsewhere_passes_the_base_through() {
    let (registry, other) = (Registry::with_base(), Sandbox::new());
    let (server, destination) = (registry.serve(), other.serve());
    let from = Proxy::start(server.host());
    let to = Proxy::start(destination.host());
    let repository = to.repository("acme/hello");
    // The second time the destination has it.
    for (arguments, times) in [
        (&["release", "1.0.0", "--locked"][..], 1),
        (&["push", "--locked"], 0),
    ] {
        let sandbox = locked(&from, &repository);
        sandbox.cairn(arguments).ok();
        let exchanges = from.exchanges();
        assert_eq!(reads(&exchanges, &registry.layer).len(), times, "{exchanges:#?}");
        has_no(&sandbox, &registry.layer);
    }
    let sandbox = Sandbox::new();
    let image = format!("{repository}:1.0.0");
    sandbox.cairn(["verify", &image]).ok().prints("whole");
}

#[test]
fn what_is_locked_is_locked_again_without_a_request() {
    let registry = Registry::with_base();
    let server = registry.serve();
    let proxy = Proxy::start(server.host());
    let sandbox = locked(&proxy, &proxy.repository("team/hello"));
    let before = fs::read(sandbox.project().join("cairn.lock")).expect("a lock");
    sandbox.cairn(["lock"]).ok();
    let exchanges = proxy.exchanges();
    assert!(exchanges.is_empty(), "{exchanges:#?}");
    assert_eq!(
        fs::read(sandbox.project().join("cairn.lock")).expect("a lock"),
        before
    );
}

#[test]
fn a_base_that_its_registry_has_lost_is_named_and_nothing_is_tagged() {
    let (registry, other) = (Registry::with_base(), Sandbox::new());
    let (server, destination) = (registry.serve(), other.serve());
    let proxy = Proxy::start(server.host());
    let repository = destination.repository("acme/hello");
    let sandbox = locked(&proxy, &repository);
    fs::remove_file(registry.sandbox.blob("team/base", &registry.layer)).expect("an own file");
    sandbox
        .cairn(["push", "--locked", "--tag", "1"])
        .fails(4)
        .says(&registry.layer);
    sandbox.cairn(["inspect", &format!("{repository}:1")]).fails(1);
}

#[test]
fn offline_all_that_is_missing_is_named_and_can_be_brought_by_hand() {
    let registry = Registry::with_base();
    let server = registry.serve();
    let proxy = Proxy::start(server.host());
    let here = locked(&proxy, &proxy.repository("team/hello"));
    let tool = Digest::of(b"tool");
    let spec = fs::read_to_string(here.project().join("cairn.toml")).expect("a spec");
    here.write(
        "cairn.toml",
        format!(
            "{spec}\n[[layer]]\nname = \"tool\"\nfetch = [{{ url = \"https://example.org/tool?key=1\", sha256 = \"{}\", to = \"/tool\" }}]\n",
            tool.hex()
        ),
    );
    let before = fs::read(here.project().join("cairn.lock")).expect("a lock");
    let refused = here
        .cairn(["build", "--offline"])
        .fails(3)
        .says(&format!("https://example.org/tool ({tool}) is not here"))
        .says("the configuration of the base")
        .says(&format!("({}) is not here", registry.layer));
    assert_eq!(
        fs::read(here.project().join("cairn.lock")).expect("a lock"),
        before,
        "{refused}"
    );
    // Without the lock nobody knows the base's layers: what the lock misses is named.
    fs::remove_file(here.project().join("cairn.lock")).expect("it was written");
    here.cairn(["lock", "--offline"])
        .fails(3)
        .says("cannot reach")
        .says(&format!("https://example.org/tool ({tool}) is not here"));
    here.write("cairn.lock", before);

    let cache = here.store().join("cache/sha256");
    fs::create_dir_all(&cache).expect("a directory");
    fs::write(cache.join(tool.hex()), b"tool").expect("a file");
    let vendor = registry.sandbox.store();
    let mut brought = 0;
    for line in refused.stderr.lines().filter(|line| line.contains("of the base")) {
        let hex = line
            .split("(sha256:")
            .nth(1)
            .and_then(|rest| rest.split(')').next());
        let hex = hex.expect("a digest");
        let blob = registry.sandbox.blob("team/base", &format!("sha256:{hex}"));
        assert!(blob.starts_with(&vendor));
        fs::copy(blob, cache.join(hex)).expect("a file");
        brought += 1;
    }
    assert_eq!(brought, 2);
    here.cairn(["build", "--offline"]).ok();
    assert!(proxy.exchanges().is_empty(), "something was asked for");
}
