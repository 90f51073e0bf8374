//! Machines with nothing but a checkout: layers that a release has are neither compressed nor uploaded again.

use std::fs;
use std::path::PathBuf;

use cairn_oci::{Descriptor, Digest, Manifest, json, media_type};
use cairn_store::{Condition, Directory, RawManifest, Repository as _, Target, from_bytes};
use serde_json::Value;

use crate::harness::{Output, Project, Proxy, Random, Sandbox, Server};

/// A server with `1.4.2` of `team/hello` on prod, a proxy before it, and who released it.
struct Released {
    served: Sandbox,
    _server: Server,
    proxy: Proxy,
    author: Sandbox,
    digest: String,
    content: Vec<u8>,
}

impl Released {
    fn new() -> Self {
        let served = Sandbox::new();
        let server = served.serve();
        let proxy = Proxy::start(server.host());
        let content = Random::new().bytes(200_000);
        let author = Sandbox::new();
        let mut this = Self {
            served,
            _server: server,
            proxy,
            author,
            digest: String::new(),
            content,
        };
        this.check_out(&this.author);
        this.author.cairn(["release", "1.4.2", "--channel", "prod"]).ok();
        this.digest = this.author.tagged(&format!("{}:prod", this.repository()));
        this.proxy.exchanges();
        this
    }

    fn repository(&self) -> String {
        self.proxy.repository("team/hello")
    }

    fn check_out(&self, to: &Sandbox) {
        let more = "\n[[layer]]\nname = \"data\"\ncopy = [{ from = \"data\", to = \"/srv/data\" }]\n";
        let project = Project::new().repository(self.repository()).with(more);
        to.write_project(&project, "1");
        to.write("data", &self.content);
    }

    /// A machine with a checkout and nothing else.
    fn runner(&self) -> Sandbox {
        let runner = Sandbox::new();
        self.check_out(&runner);
        runner
    }

    /// The digest of the build record.
    fn record(&self) -> String {
        let shown = self.author.cairn(["--json", "show", "1.4.2"]).ok().json();
        shown["bound"][0]["record"].as_str().expect("a record").to_owned()
    }

    /// The digest of the layer `data`.
    fn layer(&self) -> String {
        let image = format!("{}:prod", self.repository());
        let image = self.author.cairn(["--json", "inspect", &image]).ok().json();
        let layer = &image["images"][0]["layers"][1]["digest"];
        layer.as_str().expect("two layers").to_owned()
    }

    /// How many bytes went to the registry since this was last asked.
    fn sent(&self) -> u64 {
        self.proxy.exchanges().iter().map(|one| one.sent).sum()
    }
}

/// The output, which does not say `text`.
#[track_caller]
fn without(output: Output, text: &str) -> Output {
    assert!(!output.stderr.contains(text), "{text:?} in:\n{output}");
    output
}

fn push(runner: &Sandbox) -> (Output, Value) {
    let output = runner.cairn(["--json", "push"]).ok();
    let document = output.json();
    (output, document)
}

#[test]
fn a_cold_runner_takes_layers_over_and_uploads_nothing() {
    let released = Released::new();
    let runner = released.runner();
    let (output, document) = push(&runner);
    output.says("as 1.4.2 had it").says("first time");
    assert_eq!(document["digest"], released.digest);
    assert_eq!(document["uploaded"]["blobs"], 0, "{document}");
    let sent = released.sent();
    assert!(sent < 40_000, "{sent} bytes were sent");
    let layer = released.layer();
    assert!(!runner.blob("hello", &layer).exists(), "the layer was made");
    runner.cairn(["inspect", "hello:built"]).fails(1);

    // Whoever wants the bytes makes them, and they are the same.
    let built = without(runner.cairn(["build"]).ok(), "had it");
    assert_eq!(built.digest(), released.digest);
    runner.cairn(["verify"]).ok();
}

#[test]
fn a_release_takes_over_what_did_not_change_and_records_it() {
    let released = Released::new();
    let runner = released.runner();
    runner.write_app("2");
    let key = fs::read_to_string(released.author.key()).expect("a key");
    let release = |version: &str| {
        let mut command = runner.command(["release", version, "--channel", "prod"]);
        command.env("CAIRN_KEY", &key);
        crate::harness::run(&mut command).ok()
    };
    let lines = release("1.5.0").stderr;
    let layers: Vec<_> = lines.lines().filter(|line| line.contains(" layer ")).collect();
    assert!(
        !layers[0].contains("had it") && layers[1].contains("as 1.4.2 had it"),
        "{lines}"
    );
    let sent = released.sent();
    assert!(sent < 60_000, "{sent} bytes were sent");
    let image = format!("{}:prod", released.repository());
    runner.cairn(["verify", &image]).ok().prints("whole");

    // The next one finds all of it in the new release, and who knows the old one, that.
    let next = released.runner();
    next.write_app("2");
    push(&next).0.says("as 1.5.0 had it");
    next.cairn(["audit"]).ok().prints("no finding");
}

#[test]
fn a_layer_that_is_gone_is_made_again() {
    let released = Released::new();
    let layer = released.layer();
    fs::remove_file(released.served.blob("team/hello", &layer)).expect("an own file");
    let runner = released.runner();
    let (output, document) = push(&runner);
    assert_eq!(document["digest"], released.digest);
    assert_eq!(output.stderr.matches("as 1.4.2 had it").count(), 1, "{output}");
    assert!(released.served.blob("team/hello", &layer).exists());
    let image = format!("{}:prod", released.repository());
    runner.cairn(["verify", &image]).ok().prints("whole");
}

#[test]
fn a_record_with_other_bytes_than_the_release_signed_is_not_used() {
    let released = Released::new();
    let record = released.record();
    released.served.spoil_blob("team/hello", &record);
    let (output, document) = push(&released.runner());
    without(output.says("is not used"), "had it");
    assert_eq!(document["digest"], released.digest);

    fs::remove_file(released.served.blob("team/hello", &record)).expect("an own file");
    let (output, document) = push(&released.runner());
    without(output.says("is not used").says("missing"), "had it");
    assert_eq!(document["digest"], released.digest);
}

/// Writes into the served store, as somebody does who may push.
fn plant(served: &Sandbox, image: &str, record: &Value) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let kind = "application/vnd.cairn.build.v1+json";
        let store = Directory::open(served.store()).expect("a store");
        let name = "team/hello".parse().expect("a name");
        let repository = store.open_repository(&name);
        let bytes = json::canonical(record);
        for content in [&bytes[..], b"{}"] {
            let content = content.to_vec();
            let (digest, size) = (Digest::of(&content), content.len() as u64);
            let written = repository.write_blob(&digest, size, from_bytes(content)).await;
            written.expect("a blob can be written");
        }
        let subject = Target::Digest(image.parse().expect("a digest"));
        let subject = repository.stat_manifest(&subject).await.expect("an answer");
        let manifest = Manifest {
            subject,
            ..Manifest::artifact(kind, vec![Descriptor::of(kind, &bytes)])
        };
        let manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
        let target = Target::Digest(manifest.digest());
        let written = repository
            .write_manifest(&target, &manifest, &Condition::Always)
            .await;
        written.expect("a manifest can be written");
    });
}

/// Somebody who may push, and has no key, attaches a record that names another layer for the same input.
#[test]
fn a_record_that_nobody_signed_is_not_used() {
    let released = Released::new();
    let blob = |digest: &str| -> PathBuf { released.served.blob("team/hello", digest) };
    let bytes = fs::read(blob(&released.record())).expect("the record");
    let mut record: Value = serde_json::from_slice(&bytes).expect("a document");
    let planted = b"another layer".to_vec();
    let layer = &mut record["platforms"][0]["layers"][1];
    layer["digest"] = Digest::of(&planted).to_string().into();
    layer["size"] = planted.len().into();
    plant(&released.served, &released.digest, &record);
    let digest = Digest::of(&planted).to_string();
    fs::write(blob(&digest), &planted).expect("a file");
    // The release's own layer is gone, so that there is a reason to look elsewhere.
    fs::remove_file(blob(&released.layer())).expect("an own file");
    let runner = released.runner();
    let (output, document) = push(&runner);
    assert_eq!(document["digest"], released.digest, "{output}");
    runner
        .cairn(["verify", &format!("{}:prod", released.repository())])
        .ok();
}

#[test]
fn images_of_a_workspace_are_taken_over_each_from_its_own_ledger() {
    let served = Sandbox::new();
    let server = served.serve();
    let root = format!(
        "[workspace]\nmembers = [\"web\", \"api\"]\n\n[workspace.image]\nplatforms = [\"linux/amd64\"]\n\
         repository = \"{}\"\n",
        server.repository("shop/{name}")
    );
    let member = |name: &str| {
        format!(
            "[image]\nname = \"{name}\"\nworkspace = true\n\n[[layer]]\nname = \"data\"\n\
             copy = [{{ from = \"file\", to = \"/srv/\" }}]\n"
        )
    };
    let (author, runner) = (Sandbox::new(), Sandbox::new());
    for sandbox in [&author, &runner] {
        sandbox.write("cairn.toml", &root);
        for name in ["web", "api"] {
            sandbox.write(&format!("{name}/cairn.toml"), member(name));
            sandbox.write(&format!("{name}/file"), name.repeat(20_000));
        }
    }
    author.cairn(["release", "1.0.0", "--workspace"]).ok();
    let pushed = runner.cairn(["push", "--workspace"]).ok();
    assert_eq!(pushed.stderr.matches("as 1.0.0 had it").count(), 2, "{pushed}");
    assert_eq!(pushed.stderr.matches("nothing to upload").count(), 2, "{pushed}");
}

#[test]
fn a_release_to_the_local_store_is_whole_there() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    // The cache is gone; the store is not.
    fs::remove_dir_all(sandbox.home().join("cache")).expect("a cache");
    let again = sandbox.cairn(["release", "1.0.1", "--channel", "prod"]).ok();
    without(again.says("as 1.0.0 had it"), "is not moved");
    sandbox.cairn(["verify"]).ok().prints("whole");
    sandbox.cairn(["verify", "--rebuild"]).ok();
    sandbox.cairn(["audit"]).ok();
}
