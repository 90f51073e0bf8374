//! Images in files: what Cairn writes, skopeo, umoci and podman read; and it reads what they write.

use std::fs;
use std::process::Command;

use super::hello::Hello;
use super::peer::Peer;
use super::podman::Podman;
use super::skopeo::Skopeo;
use crate::harness::{APP, Project, Sandbox};

/// A file of the sandbox's project, as a transport.
fn file(sandbox: &Sandbox, transport: &str, name: &str) -> String {
    let path = sandbox.project().join(name);
    format!("{transport}:{}", path.display())
}

#[test]
fn skopeo_copies_our_archives_and_we_copy_its() {
    let sandbox = Sandbox::new();
    let Some(skopeo) = Skopeo::find(&sandbox) else {
        return;
    };
    sandbox.write_project(&Project::new(), "1");
    let outputs = [
        "oci-archive:oci.tar:1.0",
        "docker-archive:docker.tar:shop/hello:1.0",
    ];
    let digest = sandbox
        .cairn(["build", "--output", outputs[0], "--output", outputs[1]])
        .ok()
        .digest();
    let ours = format!("{}:1.0", file(&sandbox, "oci-archive", "oci.tar"));
    assert_eq!(skopeo.digest(&ours), digest);
    let theirs = format!("{}:2.0", file(&sandbox, "oci-archive", "theirs.tar"));
    skopeo.copy(&ours, &theirs);
    sandbox
        .cairn(["verify", "oci-archive:theirs.tar:2.0"])
        .ok()
        .prints("whole");
    let copied = sandbox.cairn(["copy", "oci-archive:theirs.tar", "back:1"]).ok();
    assert_eq!(copied.line(), format!("back@{digest}"));

    // Docker's form has no manifest: the layers are the same once they are unpacked.
    let ours = file(&sandbox, "docker-archive", "docker.tar");
    let theirs = format!(
        "{}:localhost/hello:3",
        file(&sandbox, "docker-archive", "theirs-docker.tar")
    );
    skopeo.copy_with(&[], &ours, &theirs);
    sandbox
        .cairn(["verify", "docker-archive:theirs-docker.tar:hello:3"])
        .ok()
        .prints("whole");
    let config = |image: &str| {
        let image = sandbox.cairn(["--json", "inspect", image]).ok().json();
        image["images"][0]["config"].clone()
    };
    assert_eq!(
        config("docker-archive:theirs-docker.tar")["rootfs"],
        config("hello:built")["rootfs"]
    );
}

#[test]
fn umoci_unpacks_an_archive_of_ours() {
    let sandbox = Sandbox::new();
    let Some(umoci) = Peer::find("umoci", &sandbox) else {
        return;
    };
    sandbox.write_project(&Project::new(), "1");
    sandbox
        .cairn(["build", "--output", "docker-archive:hello.tar"])
        .ok();
    let [layout, bundle] = ["layout", "bundle"].map(|name| sandbox.root().join(name));
    fs::create_dir(&layout).expect("a new directory");
    let unpacked = Command::new("tar")
        .args(["-xf", "hello.tar", "-C"])
        .arg(&layout)
        .current_dir(sandbox.project())
        .status();
    assert!(unpacked.expect("tar runs").success());
    let image = format!("{}:latest", layout.display());
    let bundle_text = bundle.to_str().expect("a path of letters");
    umoci
        .run(&["unpack", "--rootless", "--image", &image, bundle_text])
        .ok();
    let read = |path| fs::read(path).expect("the file is there");
    assert_eq!(
        read(bundle.join("rootfs/usr/bin/app")),
        read(sandbox.project().join(APP))
    );
}

#[test]
fn podman_loads_our_archives_and_saves_ones_that_we_read() {
    let sandbox = Sandbox::new();
    let Some(podman) = Podman::find(&sandbox) else {
        return;
    };
    let hello = Hello::write(&sandbox);
    hello.set_platform();
    hello.build();
    let digest = sandbox
        .cairn([
            "build",
            "--output",
            "oci-archive:oci.tar",
            "--output",
            "docker-archive:docker.tar:2.0",
        ])
        .ok()
        .digest();
    let path = |name: &str| sandbox.project().join(name).display().to_string();
    for (name, image) in [
        ("oci.tar", "localhost/hello:latest"),
        ("docker.tar", "localhost/hello:2.0"),
    ] {
        podman.run(&["load", "--input", &path(name)]).ok().prints(image);
        let format = ["inspect", "--type", "image", "--format", "{{.Digest}}", image];
        assert_eq!(podman.run(&format).ok().digest(), digest, "{name}");
    }
    for (format, transport) in [
        ("docker-archive", "docker-archive"),
        ("oci-archive", "oci-archive"),
    ] {
        let name = format!("{format}.saved.tar");
        let (image, saved) = ("localhost/hello:latest", path(&name));
        podman
            .run(&["save", "--format", format, "--output", &saved, image])
            .ok();
        let place = format!("{transport}:{name}");
        sandbox.cairn(["verify", &place]).ok().prints("whole");
        let copied = format!("saved-{format}:1");
        sandbox.cairn(["copy", &place, &copied]).ok();
        sandbox.cairn(["verify", &copied]).ok().prints("whole");
    }
}

#[test]
fn a_build_goes_into_podmans_store_and_runs() {
    let sandbox = Sandbox::new();
    let Some(podman) = Podman::find(&sandbox) else {
        return;
    };
    let hello = Hello::write(&sandbox);
    hello.set_platform();
    hello.build();
    let directory = podman.program();
    let mut command = sandbox.command(["build", "--load", "podman"]);
    let path = std::env::var("PATH").expect("a path");
    command.env("PATH", format!("{}:{path}", directory.display()));
    let built = crate::harness::run(&mut command)
        .ok()
        .says("podman, localhost/hello:latest");
    let image = "localhost/hello:latest";
    let format = ["inspect", "--type", "image", "--format", "{{.Digest}}", image];
    assert_eq!(podman.run(&format).ok().digest(), built.digest());
    podman.start("loaded", image).answer();
}
