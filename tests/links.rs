//! Push and pull over a link of 10 MB/s that loses packets and is cut off every few megabytes.

use crate::harness::{Link, Project, Random, Sandbox, Weather};

const WEATHER: Weather = Weather {
    rate: 10_000_000,
    loss: 100,
    cut: 5_000_000,
};
const MB: usize = 1_000_000;

/// Layers that do not compress: one large, and three small ones that go at the same time.
fn write(sandbox: &Sandbox, repository: &str) {
    let mut random = Random::new();
    let mut spec =
        format!("[image]\nname = \"hello\"\nrepository = \"{repository}\"\nplatforms = [\"linux/amd64\"]\n");
    for (name, size) in [("large", 14 * MB), ("b", 2 * MB), ("c", 2 * MB), ("d", 2 * MB)] {
        sandbox.write(name, random.bytes(size));
        spec.push_str(&format!(
            "\n[[layer]]\nname = \"{name}\"\ncopy = [{{ from = \"{name}\", to = \"/{name}\" }}]\n"
        ));
    }
    sandbox.write("cairn.toml", spec);
}

#[test]
fn c16_push_and_pull_complete_over_a_bad_link() {
    let (sandbox, far) = (Sandbox::new(), Sandbox::new());
    let server = far.serve();
    let link = Link::start(server.host(), WEATHER);
    let repository = link.repository("team/hello");
    write(&sandbox, &repository);

    let pushed = sandbox.cairn(["push", "--tag", "1.0.0"]).ok();
    let (cuts, bytes) = link.toll();
    assert!(cuts >= 3, "the link was cut {cuts} times");
    // What was there already did not go again.
    assert!(bytes < 40_000_000, "{bytes} bytes for an image of 20 MB");

    let near = Sandbox::new();
    let pulled = near.cairn(["pull", &format!("{repository}:1.0.0")]).ok();
    assert_eq!(pulled.digest(), pushed.digest());
    let (all, whole) = link.toll();
    assert!(all >= cuts + 3, "the link was cut {} times", all - cuts);
    assert!(
        whole - bytes < 40_000_000,
        "{} bytes for an image of 20 MB",
        whole - bytes
    );
    near.cairn(["verify", "team/hello:1.0.0"]).ok();
}

#[test]
fn c16_a_copy_between_two_registries_completes_over_two_bad_links() {
    let (sandbox, here, there) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
    let (from, to) = (here.serve(), there.serve());
    write(&sandbox, &from.repository("team/hello"));
    let pushed = sandbox.cairn(["push", "--tag", "1.0.0"]).ok();
    let (from, to) = (Link::start(from.host(), WEATHER), Link::start(to.host(), WEATHER));
    let source = format!("{}:1.0.0", from.repository("team/hello"));
    let target = format!("{}:1.0.0", to.repository("copy/hello"));
    sandbox.cairn(["copy", &source, &target]).ok();
    assert!(
        from.toll().0 >= 3 && to.toll().0 >= 3,
        "{:?} {:?}",
        from.toll(),
        to.toll()
    );
    let pulled = sandbox.cairn(["pull", &target]).ok();
    assert_eq!(pulled.digest(), pushed.digest());
}

#[test]
fn c16_a_link_that_passes_nothing_is_an_error_that_says_how_often_it_was_tried() {
    let (sandbox, far) = (Sandbox::new(), Sandbox::new());
    let server = far.serve();
    // Every connection is cut off in its first request.
    let link = Link::start(server.host(), Weather { cut: 10, ..WEATHER });
    let repository = link.repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "1");
    sandbox
        .cairn(["push"])
        .fails(3)
        .says(&repository)
        .says("tried 5 times");
}
