//! A tag that moves while it is read: what was begun with one image is not ended with another.

use std::fs;

use crate::harness::{Project, Proxy, Sandbox, run};

/// A registry with the images `team/base:1` and `team/base:2`, and their layers.
struct Registry {
    sandbox: Sandbox,
    layers: [String; 2],
}

impl Registry {
    fn with_two_images() -> Self {
        let sandbox = Sandbox::new();
        let layers = ["1", "2"].map(|version| {
            sandbox.write("library", format!("library of version {version}\n"));
            sandbox.write(
                "cairn.toml",
                "[image]\nname = \"team/base\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n\n\
                 [[layer]]\nname = \"library\"\ncopy = [{ from = \"library\", to = \"/usr/lib/library\" }]\n",
            );
            sandbox.cairn(["build"]).ok();
            sandbox
                .cairn(["copy", "team/base:built", &format!("team/base:{version}")])
                .ok();
            layer(&sandbox, version)
        });
        Self { sandbox, layers }
    }
}

/// The layer that both platforms share.
fn layer(sandbox: &Sandbox, version: &str) -> String {
    let built = sandbox.cairn(["--json", "build"]).ok().json();
    let layer = built["platforms"][0]["layers"][0]["digest"].as_str();
    assert_eq!(layer, built["platforms"][1]["layers"][0]["digest"].as_str());
    layer
        .unwrap_or_else(|| panic!("version {version} has a layer"))
        .to_owned()
}

/// Does `work` with a tag that moves from the first image to the second before each of its requests in turn, and once
/// with one that stays. `work` gives which of the images it got, and panics if it is neither.
fn with_a_tag_that_moves(work: impl Fn(&Proxy, &Registry) -> usize) {
    let registry = Registry::with_two_images();
    let server = registry.sandbox.serve();
    let proxy = Proxy::start(server.host());
    let (first, second, tag) = (
        server.repository("team/base:1"),
        server.repository("team/base:2"),
        server.repository("team/base:12"),
    );
    let mut got = Vec::new();
    for request in 1.. {
        registry.sandbox.cairn(["copy", &first, &tag]).ok();
        proxy.exchanges();
        let mut command = registry.sandbox.command(["copy", &second, &tag]);
        proxy.before(request, move || drop(run(&mut command).ok()));
        got.push(work(&proxy, &registry));
        if proxy.exchanges().len() < request {
            break;
        }
        assert!(request < 100, "it does not end: {got:?}");
    }
    // Moved before the first request, it is the second image; moved after the last, the first.
    assert_eq!(got.first(), Some(&1), "{got:?}");
    assert_eq!(got.last(), Some(&0), "{got:?}");
    assert!(got.len() > 3, "{got:?}");
}

#[test]
fn c17_a_tag_that_moves_while_it_is_pulled_gives_one_image_or_the_other() {
    with_a_tag_that_moves(|proxy, registry| {
        let here = Sandbox::new();
        let pulled = here
            .cairn(["pull", &proxy.repository("team/base:12")])
            .ok()
            .digest();
        here.cairn(["verify", "team/base:12"]).ok();
        let images = ["team/base:1", "team/base:2"].map(|image| registry.sandbox.tagged(image));
        assert_eq!(here.tagged("team/base:12"), pulled);
        let which = images.iter().position(|image| *image == pulled);
        which.expect("one of the two images")
    });
}

#[test]
fn c17_a_tag_that_moves_while_it_is_copied_gives_one_image_or_the_other() {
    with_a_tag_that_moves(|proxy, registry| {
        let here = Sandbox::new();
        here.cairn(["copy", &proxy.repository("team/base:12"), "copied:12"])
            .ok();
        here.cairn(["verify", "copied:12"]).ok();
        let copied = here.tagged("copied:12");
        let images = ["team/base:1", "team/base:2"].map(|image| registry.sandbox.tagged(image));
        let which = images.iter().position(|image| *image == copied);
        which.expect("one of the two images")
    });
}

#[test]
fn c17_a_tag_that_moves_while_it_is_locked_gives_a_lock_of_one_image() {
    with_a_tag_that_moves(|proxy, registry| {
        let here = Sandbox::new();
        let base = format!("\n[base]\nimage = \"{}\"\n", proxy.repository("team/base:12"));
        let spec = Project::new().with(&base).spec();
        here.write(
            "cairn.toml",
            spec.replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]"),
        );
        here.write_app("1");
        here.cairn(["lock"]).ok();
        let lock = fs::read_to_string(here.project().join("cairn.lock")).expect("a lock");
        let images = ["team/base:1", "team/base:2"].map(|image| registry.sandbox.tagged(image));
        let has = |which: usize| {
            [
                lock.contains(&images[which]),
                lock.contains(&registry.layers[which]),
            ]
        };
        match (has(0), has(1)) {
            ([true, true], [false, false]) => 0,
            ([false, false], [true, true]) => 1,
            mixed => panic!("{mixed:?} in {lock}"),
        }
    });
}
