//! Images on a Debian base: from an archive, from a registry, from a directory.

use std::fs;
use std::io::Write;
use std::path::Path;

use cairn_oci::Digest;
use serde_json::{Value, json};

use super::http;
use super::machine::platform;
use super::peer::Peer;
use super::podman::Podman;
use super::root_file_system::{RootFileSystem, installed, made_by_mmdebstrap};
use super::skopeo::Skopeo;
use crate::harness::{Output, Sandbox, Server};

const APP_USER: &str = "app:x:10001:10001::/home/app:/bin/sh";

/// An application in two layers on `base`, which is a line of the spec's `[base]`.
fn write_shop(sandbox: &Sandbox, platforms: &str, base: &str) {
    sandbox.write("shop.sh", "#!/bin/sh\necho open\n");
    let spec = format!(
        "[image]\nname = \"shop\"\nplatforms = {platforms}\n\n[base]\n{base}\n\n\
         [[user]]\nname = \"app\"\nuid = 10001\nhome = \"/home/app\"\nshell = \"/bin/sh\"\n\n\
         [[layer]]\nname = \"app\"\ncopy = [{{ from = \"shop.sh\", to = \"/usr/bin/shop\", mode = \"0755\" }}]\n\
         dir = [{{ to = \"/home/app\", owner = \"app\", mode = \"0700\" }}]\n\n\
         [config]\nentrypoint = [\"/bin/sh\"]\ncmd = [\"-c\", \"id app; cat /etc/passwd\"]\nuser = \"app\"\n\
         env = {{ PATH = \"/usr/bin:/bin\" }}\n"
    );
    sandbox.write("cairn.toml", spec);
}

fn write_shop_here(sandbox: &Sandbox, base: &str) {
    write_shop(sandbox, &format!("[\"{}\"]", platform()), base);
}

/// The images of a reference: one, or those of an index.
fn images(sandbox: &Sandbox, reference: &str) -> Vec<Value> {
    let inspected = sandbox.cairn(["--json", "inspect", reference]).ok().json();
    inspected["images"].as_array().expect("a list").clone()
}

fn digest(value: &Value) -> &str {
    value["digest"].as_str().expect("a digest")
}

fn layers(image: &Value) -> &[Value] {
    image["layers"].as_array().expect("a list")
}

/// `bytes` as a gzip file that Cairn did not write.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// The lock, with the users and packages of the base that it has to pin.
#[track_caller]
fn lock_with_listing(sandbox: &Sandbox, base: &RootFileSystem) -> String {
    let lock = fs::read_to_string(sandbox.project().join("cairn.lock")).expect("a lock");
    for one in base.users.iter().chain(&base.packages) {
        assert!(lock.contains(&format!("  \"{one}\",\n")), "the lock lacks {one}");
    }
    lock
}

/// Holds `/etc/passwd` of an image on `base` against what it should be.
#[track_caller]
fn has_all_users(passwd: &str, base: &RootFileSystem) {
    let mut expected = base.users.clone();
    expected.push(APP_USER.to_owned());
    assert_eq!(passwd.lines().collect::<Vec<_>>(), expected);
}

/// Unpacks `shop:built` of the store and returns the directory of its files.
fn unpack(sandbox: &Sandbox, umoci: &Peer) -> std::path::PathBuf {
    let image = sandbox.store().join("repos/shop/_layout:built");
    let bundle = sandbox.root().join("bundle");
    let [image, directory] = [&image, &bundle].map(|path| path.to_str().expect("a path of letters"));
    umoci
        .run(&["unpack", "--rootless", "--image", image, directory])
        .ok();
    bundle.join("rootfs")
}

#[test]
fn a_root_file_system_is_the_lowest_layer_as_it_is() {
    let sandbox = Sandbox::new();
    let Some(base) = installed(&sandbox) else { return };
    let plain = fs::read(&base.archive).expect("the archive is there");
    for (name, bytes) in [("root.tar.gz", gzip(&plain)), ("root.tar", plain)] {
        sandbox.write(name, &bytes);
        write_shop_here(&sandbox, &format!("rootfs = \"{name}\""));
        sandbox.cairn(["lock"]).ok();
        let built = sandbox.cairn(["build"]).ok().digest();
        let image = &images(&sandbox, "shop:built")[0];
        let expected = Digest::of(&bytes).to_string();
        assert_eq!(layers(image).len(), 3);
        assert_eq!(digest(&layers(image)[0]), expected);
        assert!(fs::read(sandbox.blob("shop", &expected)).expect("the blob") == bytes);
        let lock = lock_with_listing(&sandbox, &base);
        assert!(lock.contains(&format!("file = \"{expected}\"")), "{lock}");
        sandbox.cairn(["verify"]).ok().prints("whole");
        assert_eq!(
            sandbox.cairn(["build", "--locked", "--offline"]).ok().digest(),
            built
        );
    }
}

#[test]
fn a_changed_root_file_system_is_refused_until_the_lock_says_so() {
    let sandbox = Sandbox::new();
    let Some(base) = installed(&sandbox) else { return };
    let bytes = fs::read(&base.archive).expect("the archive is there");
    sandbox.write("root.tar", &bytes);
    write_shop_here(&sandbox, "rootfs = \"root.tar\"");
    let before = sandbox.cairn(["build"]).ok().digest();
    // An archive with two more blocks of zeros at its end has the same files, and another digest.
    sandbox.write("root.tar", [&bytes, [0; 1024].as_slice()].concat());
    sandbox.cairn(["build"]).fails(1).says("cairn lock --update");
    sandbox.cairn(["lock", "--update"]).ok().says("→");
    assert_ne!(sandbox.cairn(["build"]).ok().digest(), before);
}

#[test]
fn umoci_unpacks_an_image_on_a_base_with_the_users_of_both() {
    let sandbox = Sandbox::new();
    let Some(base) = installed(&sandbox) else {
        return;
    };
    let Some(umoci) = Peer::find("umoci", &sandbox) else {
        return;
    };
    write_shop_here(&sandbox, "rootfs = \"root.tar\"");
    fs::copy(&base.archive, sandbox.project().join("root.tar")).expect("a file can be copied");
    sandbox.cairn(["build"]).ok();
    let root = unpack(&sandbox, &umoci);
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("the file is there");
    has_all_users(&read("etc/passwd"), &base);
    assert!(read("etc/group").ends_with("www-data:x:33:\napp:x:10001:\n"));
    assert_eq!(read("usr/bin/shop"), "#!/bin/sh\necho open\n");
    let shell = fs::read(root.join("usr/bin/sh").canonicalize().expect("a shell"));
    assert!(shell.expect("a file") == fs::read("/bin/sh").expect("a shell of this machine"));
}

#[test]
fn podman_runs_a_shell_of_the_base_as_the_user_that_was_added() {
    let sandbox = Sandbox::new();
    let Some(base) = installed(&sandbox) else {
        return;
    };
    let Some(podman) = Podman::find(&sandbox) else {
        return;
    };
    let registry = Sandbox::new();
    let server = registry.serve();
    write_shop_here(&sandbox, "rootfs = \"root.tar\"");
    fs::copy(&base.archive, sandbox.project().join("root.tar")).expect("a file can be copied");
    sandbox.cairn(["build"]).ok();
    let image = server.repository("shop:1");
    sandbox.cairn(["copy", "shop:built", &image]).ok();
    let said = podman.run_image(&image).ok().stdout;
    let (id, passwd) = said.split_once('\n').expect("lines");
    assert_eq!(id, "uid=10001(app) gid=10001(app) groups=10001(app)");
    has_all_users(passwd, &base);
}

#[test]
fn a_debian_by_mmdebstrap_is_a_base() {
    let sandbox = Sandbox::new();
    let Some(umoci) = Peer::find("umoci", &sandbox) else {
        return;
    };
    let Some(base) = made_by_mmdebstrap(&sandbox) else {
        return;
    };
    assert!(base.packages.len() > 20, "{:?}", base.packages);
    write_shop_here(&sandbox, "rootfs = \"debian.tar\"");
    fs::rename(&base.archive, sandbox.project().join("debian.tar")).expect("a file can be moved");
    sandbox.cairn(["build"]).ok();
    let lock = lock_with_listing(&sandbox, &base);
    assert!(
        lock.contains("{ path = \"/tmp\", mode = \"1777\", owner = \"0:0\" }"),
        "{lock}"
    );
    sandbox.cairn(["verify"]).ok().prints("whole");
    let root = unpack(&sandbox, &umoci);
    let passwd = fs::read_to_string(root.join("etc/passwd")).expect("the file is there");
    has_all_users(&passwd, &base);
    assert!(root.join("usr/bin/shop").is_file() && root.join("usr/bin/dpkg").is_file());
}

/// A base for two machines in the registry, as somebody else publishes it.
struct Published {
    vendor: Sandbox,
    registry: Sandbox,
    server: Server,
    base: RootFileSystem,
}

const BOTH: &str = "[\"linux/amd64\", \"linux/arm64\"]";

impl Published {
    fn new() -> Option<Self> {
        let (vendor, registry) = (Sandbox::new(), Sandbox::new());
        let base = installed(&vendor)?;
        let server = registry.serve();
        let this = Self {
            vendor,
            registry,
            server,
            base,
        };
        let plain = fs::read(&this.base.archive).expect("the archive is there");
        this.vendor.write("root-arm64.tar", gzip(&plain));
        this.vendor.write("root-amd64.tar", plain);
        Some(this)
    }

    /// Publishes an edition under the tag 12, and returns the digest of the index.
    fn publish(&self, edition: &str) -> String {
        let spec = format!(
            "[image]\nname = \"debian\"\nplatforms = {BOTH}\nrepository = \"{}\"\n\n\
             [base]\nrootfs = \"root-{{arch}}.tar\"\n\n[config]\nenv = {{ EDITION = \"{edition}\" }}\n",
            self.server.repository("base/debian")
        );
        self.vendor.write("cairn.toml", spec);
        self.vendor.cairn(["push", "--tag", "12"]).ok().digest()
    }

    fn image(&self) -> String {
        self.server.repository("base/debian:12")
    }

    /// Holds each image of `shop:built` against the base's: the base's layers come first, byte for byte.
    #[track_caller]
    fn is_passed_on(&self, sandbox: &Sandbox) {
        let (bases, built) = (
            images(&self.vendor, "debian:built"),
            images(sandbox, "shop:built"),
        );
        assert_eq!((bases.len(), built.len()), (2, 2));
        for (base, image) in bases.iter().zip(&built) {
            assert_eq!(base["platform"], image["platform"]);
            assert_eq!(layers(image)[..1], *layers(base));
            let layer = digest(&layers(base)[0]);
            let given = fs::read(self.registry.blob("base/debian", layer)).expect("the base's blob");
            assert!(fs::read(sandbox.blob("shop", layer)).expect("the image's blob") == given);
        }
    }
}

#[test]
fn a_base_from_a_registry_is_pinned_and_passed_on_byte_for_byte() {
    let Some(published) = Published::new() else { return };
    let index = published.publish("first");
    let sandbox = Sandbox::new();
    write_shop(&sandbox, BOTH, &format!("image = \"{}\"", published.image()));
    sandbox.cairn(["lock"]).ok();
    let lock = lock_with_listing(&sandbox, &published.base);
    assert!(lock.contains(&format!("\ndigest = \"{index}\"\n")), "{lock}");
    for manifest in images(&published.vendor, "debian:built") {
        let pin = format!("\nmanifest = \"{}\"\n", digest(&manifest));
        assert!(lock.contains(&pin), "{lock}\nlacks {pin}");
    }
    sandbox.cairn(["build", "--locked"]).ok();
    published.is_passed_on(&sandbox);
    sandbox.cairn(["verify"]).ok().prints("whole");
    let environment = &images(&sandbox, "shop:built")[0]["config"]["config"]["Env"];
    assert_eq!(*environment, json!(["EDITION=first", "PATH=/usr/bin:/bin"]));
}

#[test]
fn a_base_is_not_uploaded_to_the_registry_that_has_it() {
    let Some(published) = Published::new() else { return };
    published.publish("first");
    let sandbox = Sandbox::new();
    write_shop(&sandbox, BOTH, &format!("image = \"{}\"", published.image()));
    let to = published.server.repository("team/shop:1");
    let pushed = sandbox.cairn(["--json", "push", &to]).ok().json();
    let uploaded = pushed["uploaded"]["bytes"].as_u64().expect("a number");
    let base = layers(&images(&published.vendor, "debian:built")[0])[0]["size"].as_u64();
    assert!(
        uploaded < base.expect("a size") / 4,
        "{uploaded} bytes were uploaded"
    );
    sandbox.cairn(["verify", &to]).ok().prints("whole");
}

#[test]
fn a_moved_tag_changes_nothing_until_the_lock_is_updated() {
    let Some(published) = Published::new() else { return };
    let sandbox = Sandbox::new();
    let build = |arguments: &[&str]| -> Output { sandbox.cairn([&["build"], arguments].concat()).ok() };
    let old = published.publish("first");
    write_shop(&sandbox, BOTH, &format!("image = \"{}\"", published.image()));
    let before = build(&[]).digest();
    let new = published.publish("second");
    assert_ne!(new, old);
    for arguments in [[].as_slice(), &["--locked"], &["--offline"]] {
        assert_eq!(build(arguments).digest(), before, "{arguments:?}");
    }
    sandbox.cairn(["lock"]).ok().says("up to date");
    let moved = format!("the base {}: {old} → {new}", published.image());
    sandbox.cairn(["lock", "--update"]).ok().says(&moved);
    assert_ne!(build(&[]).digest(), before);
}

#[test]
fn a_base_that_was_fetched_once_is_enough_without_the_registry() {
    let Some(mut published) = Published::new() else {
        return;
    };
    published.publish("first");
    let sandbox = Sandbox::new();
    write_shop(&sandbox, BOTH, &format!("image = \"{}\"", published.image()));
    let before = sandbox.cairn(["build"]).ok().digest();
    published.server.kill9();
    assert_eq!(sandbox.cairn(["build"]).ok().digest(), before);
    sandbox.write("shop.sh", "#!/bin/sh\necho closed\n");
    let after = sandbox.cairn(["build", "--offline"]).ok().digest();
    assert_ne!(after, before);
    published.is_passed_on(&sandbox);
    sandbox.cairn(["verify"]).ok().prints("whole");
    // Another machine with the same spec and lock, which has fetched nothing.
    let elsewhere = Sandbox::new();
    for file in ["cairn.toml", "cairn.lock", "shop.sh"] {
        elsewhere.write(file, fs::read(sandbox.project().join(file)).expect("a file"));
    }
    elsewhere.cairn(["build", "--offline"]).fails(3);
    elsewhere.cairn(["build"]).fails(3);
    fs::remove_file(elsewhere.project().join("cairn.lock")).expect("an own file");
    let refused = elsewhere.cairn(["build", "--offline"]).fails(1);
    refused.says("--offline is given, and there is no cairn.lock");
}

#[test]
fn a_directory_that_skopeo_wrote_is_the_same_base() {
    let Some(published) = Published::new() else { return };
    let sandbox = Sandbox::new();
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    let index = published.publish("first");
    let vendor = sandbox.project().join("vendor");
    skopeo.copy(&format!("docker://{}", published.image()), &layout(&vendor, "12"));
    write_shop(&sandbox, BOTH, "oci = \"vendor:12\"");
    sandbox.cairn(["build", "--offline"]).ok();
    published.is_passed_on(&sandbox);
    let lock = lock_with_listing(&sandbox, &published.base);
    assert!(lock.contains(&format!("\ndigest = \"{index}\"\n")), "{lock}");
    let from_directory = images(&sandbox, "shop:built");

    write_shop(&sandbox, BOTH, &format!("image = \"{}\"", published.image()));
    sandbox.cairn(["lock"]).ok();
    sandbox.cairn(["build"]).ok();
    for (one, other) in from_directory.iter().zip(&images(&sandbox, "shop:built")) {
        // The manifests differ: an annotation names where the base came from.
        assert_eq!(one["config"], other["config"]);
        assert_eq!(one["layers"], other["layers"]);
    }
}

#[test]
fn dockers_media_types_of_a_base_become_those_of_oci() {
    let Some(published) = Published::new() else { return };
    let sandbox = Sandbox::new();
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    published.publish("first");
    let docker = published.server.repository("base/docker:12");
    let from = format!("docker://{}", published.image());
    skopeo.copy_with(&["--format", "v2s2"], &from, &format!("docker://{docker}"));
    let list = http::manifest(published.server.host(), "base/docker", "12").json();
    assert_eq!(
        list["mediaType"],
        "application/vnd.docker.distribution.manifest.list.v2+json"
    );

    write_shop(&sandbox, BOTH, &format!("image = \"{docker}\""));
    sandbox.cairn(["build"]).ok();
    sandbox.cairn(["verify"]).ok().prints("whole");
    let bases = list["manifests"].as_array().expect("a list");
    for (base, image) in bases.iter().zip(&images(&sandbox, "shop:built")) {
        let base = http::manifest(published.server.host(), "base/docker", digest(base)).json();
        assert_eq!(digest(&layers(image)[0]), digest(&layers(&base)[0]));
        for layer in layers(image) {
            let media_type = layer["mediaType"].as_str().expect("a text");
            assert!(
                media_type.starts_with("application/vnd.oci.image.layer.v1.tar"),
                "{media_type}"
            );
        }
    }
}

fn layout(directory: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", directory.display())
}
