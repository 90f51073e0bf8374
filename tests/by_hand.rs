//! Tags that somebody moved by hand: nothing is guessed and nothing is overwritten, until somebody says which way.

use std::ops::Deref;

use crate::harness::{Hosted, Sandbox, tag_by_hand, untag_by_hand};

/// A server with 1.0.0 to 3.0.0 of `team/hello`, of which prod shows the last.
struct World {
    hosted: Hosted,
    digests: Vec<String>,
}

impl Deref for World {
    type Target = Hosted;

    fn deref(&self) -> &Hosted {
        &self.hosted
    }
}

impl World {
    fn new() -> Self {
        let hosted = Hosted::new();
        let digests = ["1.0.0", "2.0.0", "3.0.0"].map(|version| hosted.release(version, "prod"));
        Self {
            hosted,
            digests: digests.to_vec(),
        }
    }

    fn by_hand(&self, from: &str, tag: &str) {
        tag_by_hand(self.server.host(), "team/hello", from, tag);
    }

    /// What prod shows by the ledger, and its way back.
    fn prod(&self) -> (String, serde_json::Value) {
        let prod = self.channel("prod");
        let digest = prod["digest"].as_str().expect("it shows something");
        (digest.to_owned(), prod["way_back"]["version"].clone())
    }

    /// An image that the ledger never heard of.
    fn stranger(&self) -> String {
        self.sandbox.write_app("hotfix");
        self.cairn(&["push", "--tag", "hotfix"]).ok().digest()
    }
}

#[test]
fn crane_tag_by_hand_to_the_previous_digest_is_seen_and_recorded_as_the_rollback_that_it_is() {
    let world = World::new();
    world.by_hand(&world.digests[1], "prod");
    world.cairn(&["status"]).ok().says("cairn record prod accepts it");
    world.cairn(&["audit"]).exits(4).prints("tag-differs");
    // Dry, it says what would happen.
    world
        .cairn(&["record", "prod", "--dry-run"])
        .ok()
        .says("3.0.0 → 2.0.0 (not done");
    let reason = "rolled back with crane at night";
    let recorded = world.cairn(&["record", "prod", "--reason", reason]).ok();
    assert_eq!(recorded.digest(), world.digests[1]);
    // The trail was cut there: the way back is what it was when 2.0.0 was shown.
    assert_eq!(world.prod(), (world.digests[1].clone(), "1.0.0".into()));
    world.cairn(&["audit"]).ok();
    world.cairn(&["history", "prod"]).ok().prints(reason);
    world.cairn(&["record", "prod"]).ok().says("nothing to record");
    let entries = world.cairn(&["--json", "history"]).ok().json();
    assert_eq!(entries["entries"].as_array().map(Vec::len), Some(5));
}

#[test]
fn crane_tag_by_hand_to_the_previous_digest_is_put_back_by_repair_forward() {
    let world = World::new();
    world.by_hand(&world.digests[1], "prod");
    world.cairn(&["repair", "prod"]).fails(2).says("--forward");
    world
        .cairn(&["repair", "prod", "--forward", "--dry-run"])
        .ok()
        .says("(not done");
    world.cairn(&["status"]).ok().says("the tag prod shows");
    let repaired = world
        .cairn(&["--json", "repair", "prod", "--forward"])
        .ok()
        .json();
    assert_eq!(
        (&repaired["digest"], &repaired["previous"], &repaired["changed"]),
        (
            &world.digests[2].as_str().into(),
            &world.digests[1].as_str().into(),
            &true.into()
        )
    );
    world.cairn(&["audit"]).ok();
    world
        .cairn(&["repair", "prod", "--forward"])
        .ok()
        .says("nothing to do");
    let entries = world.cairn(&["--json", "history"]).ok().json();
    assert_eq!(
        entries["entries"].as_array().map(Vec::len),
        Some(4),
        "nothing was appended"
    );
}

#[test]
fn what_the_ledger_never_knew_stops_every_move_until_somebody_says_which_way() {
    let world = World::new();
    let hotfix = world.stranger();
    world.by_hand(&hotfix, "prod");
    let prod = world.server.repository("team/hello:prod");
    let which = world.sandbox.cairn(["which", &prod]).exits(1);
    which.says("somebody moved the tag by hand: cairn status says");
    let audit = world.cairn(&["audit"]).exits(4);
    audit.prints("cairn record prod accepts it, cairn repair prod --forward puts it back");
    for move_ in [&["promote", "1.0.0", "prod"][..], &["rollback", "prod"]] {
        world
            .cairn(move_)
            .fails(6)
            .says("accept it with cairn record prod, or put it back with cairn repair prod --forward");
    }
    let recorded = world
        .cairn(&["record", "prod", "--reason", "hotfix of the night"])
        .ok();
    assert_eq!(recorded.digest(), hotfix);
    // It has no version, so a tag after its content keeps it.
    let kept = format!("team/hello:cairn-i-{}", &hotfix[7..23]);
    assert_eq!(world.sandbox.tagged(&world.server.repository(&kept)), hotfix);
    world.cairn(&["audit"]).ok();
    let back = world.cairn(&["rollback", "prod"]).ok();
    assert_eq!(back.digest(), world.digests[2]);
}

#[test]
fn a_tag_that_is_gone_is_written_again_and_not_recorded() {
    let world = World::new();
    untag_by_hand(world.server.host(), "team/hello", "prod");
    world
        .cairn(&["record", "prod"])
        .fails(1)
        .says("cairn repair prod --forward writes it");
    let repaired = world.cairn(&["repair", "prod", "--forward"]).ok();
    assert_eq!(repaired.digest(), world.digests[2]);
    world.cairn(&["audit"]).ok();
}

#[test]
fn repair_puts_nothing_back_that_a_first_time_reader_cannot_know_to_be_new() {
    let world = World::new();
    let hotfix = world.stranger();
    world.by_hand(&hotfix, "prod");
    let stranger = Sandbox::new();
    let repository = world.server.repository("team/hello");
    let repair = ["repair", "prod", "--forward", "--repository", &repository];
    stranger
        .cairn(repair)
        .fails(4)
        .says("the ledger may be an old copy: pin an entry");
    assert_eq!(
        world.sandbox.tagged(&world.server.repository("team/hello:prod")),
        hotfix
    );
}

#[test]
fn a_version_tag_without_an_entry_is_found_refused_and_adopted() {
    let world = World::new();
    let hotfix = world.stranger();
    world.by_hand(&hotfix, "4.0.0");
    world
        .cairn(&["audit"])
        .exits(4)
        .prints("tag-without-entry")
        .prints("4.0.0");
    world.sandbox.write_app("4");
    world
        .cairn(&["release", "4.0.0"])
        .fails(6)
        .says("cairn adopt --tags 4.0.0");
    let adopted = world.cairn(&["--json", "adopt", "--tags", "4.0.0"]).ok().json();
    assert_eq!(adopted["adopted"][0]["digest"], hotfix.as_str());
    world.cairn(&["audit"]).ok();
    world.cairn(&["show", "4.0.0"]).ok().prints(&hotfix);
}

#[test]
fn a_version_bound_twice_is_refused_and_stays_what_it_was() {
    let world = World::new();
    world.sandbox.write_app("other");
    world
        .cairn(&["release", "1.0.0"])
        .fails(6)
        .says("1.0.0 is already sha256:")
        .says("a version never changes");
    // Nor by hand: the server keeps the tags of versions.
    let hotfix = world.stranger();
    let repository = world.server.repository("team/hello");
    let image = format!("{repository}@{hotfix}");
    world
        .cairn(&["release", "1.0.0", "--image", &image, "--channel", "prod"])
        .fails(6);
    assert_eq!(
        world.sandbox.tagged(&format!("{repository}:1.0.0")),
        world.digests[0]
    );
    world.cairn(&["audit"]).ok();
}

#[test]
fn a_tag_put_back_by_hand_is_told_when_the_next_move_overwrites_it() {
    let world = World::new();
    let hand = |version: usize| world.by_hand(&world.digests[version - 1], "prod");
    let told = format!(
        "the tag prod showed {} (2.0.0), and the ledger said 3.0.0: somebody moved it by hand, or a run was cut off. It is overwritten; if it was meant: cairn rollback prod 2.0.0",
        world.digests[1]
    );
    hand(2);
    world.sandbox.write_app("4");
    world
        .cairn(&["release", "4.0.0", "--channel", "prod"])
        .ok()
        .says(&told);
    // The same for scripts, and when nothing is appended.
    hand(1);
    let promoted = world.cairn(&["--json", "promote", "4.0.0", "prod"]).ok().json();
    assert_eq!(promoted["changed"], false);
    assert_eq!(
        promoted["channels"][0]["overwrote"],
        serde_json::json!({ "digest": world.digests[0], "version": "1.0.0" })
    );
    // What was wanted is not overwritten, whoever put it there first.
    hand(3);
    let back = world.cairn(&["rollback", "prod"]).ok();
    assert_eq!(back.digest(), world.digests[2]);
    assert!(!back.stderr.contains("overwritten"), "{back}");
    hand(1);
    world
        .cairn(&["rollback", "prod", "2.0.0"])
        .ok()
        .says("(1.0.0), and the ledger said 3.0.0");
    // Also where nobody rolled back to what it is put back from.
    hand(1);
    world
        .cairn(&["rollback", "prod"])
        .ok()
        .says("nothing to do")
        .says("overwritten");
    assert_eq!(world.prod().0, world.digests[1]);
    world.cairn(&["audit"]).ok();
}

#[test]
fn a_rollback_that_is_repeated_after_its_tag_was_not_written_says_nothing_of_hands() {
    let world = World::new();
    world.cairn(&["rollback", "prod"]).ok();
    for again in [&["rollback", "prod"][..], &["rollback", "prod", "2.0.0"]] {
        // As if the answer to the write of the tag had never come, and the write neither.
        world.by_hand(&world.digests[2], "prod");
        let repeated = world.cairn(again).ok().says("nothing to do");
        assert_eq!(repeated.digest(), world.digests[1]);
        assert!(!repeated.stderr.contains("by hand"), "{repeated}");
        world.by_hand(&world.digests[2], "prod");
        let json = world.cairn(&[&["--json"], again].concat()).ok().json();
        assert_eq!(json["channels"][0]["overwrote"], serde_json::Value::Null);
        world.cairn(&["audit"]).ok();
    }
}
