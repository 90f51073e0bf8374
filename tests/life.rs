//! One image's life, as the README tells it: on the local store, and on a registry.

use crate::harness::{Output, Project, Sandbox};

/// The story so far, as one text.
struct Story {
    sandbox: Sandbox,
    text: String,
    normaliser: crate::harness::Normaliser,
}

impl Story {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        Self {
            normaliser: sandbox.normaliser(),
            text: String::new(),
            sandbox,
        }
    }

    /// Runs a command and tells it.
    fn cairn<const N: usize>(&mut self, arguments: [&str; N]) -> Output {
        let output = self.sandbox.cairn(arguments);
        self.text.push_str(&self.normaliser.text(&output.to_string()));
        output
    }

    /// From the first build to the audit.
    fn live(&mut self, project: &Project) {
        self.sandbox.write_project(project, "1");
        let first = self.cairn(["build"]).ok().digest();
        let released = self
            .cairn(["release", "1.0.0", "--channel", "prod"])
            .ok()
            .digest();
        assert_eq!(released, first);
        self.sandbox.write_app("2");
        let second = self
            .cairn([
                "release",
                "2.0.0",
                "--channel",
                "prod",
                "--reason",
                "new greeting",
            ])
            .ok()
            .digest();
        assert_ne!(second, first);
        self.cairn(["status"]).ok().prints("1.0.0 ready");
        let back = self
            .cairn(["rollback", "prod", "--reason", "500s on checkout"])
            .ok();
        assert_eq!(back.digest(), first);
        let again = self.cairn(["rollback", "prod"]).ok();
        assert_eq!(again.digest(), first, "safe to repeat");
        self.cairn(["status"]).ok().prints("1.0.0 (held)");
        self.cairn(["promote", "2.0.0", "prod"])
            .fails(6)
            .says("cairn resume prod");
        self.cairn(["resume", "prod"]).ok();
        let promoted = self.cairn(["promote", "2.0.0", "prod"]).ok();
        assert_eq!(promoted.digest(), second);
        self.cairn(["history"]).ok();
        self.cairn(["show", "1.0.0"]).ok().prints(&first);
        self.cairn(["verify"]).ok();
        self.cairn(["audit"]).ok().prints("no finding");
    }
}

#[test]
fn on_the_local_store() {
    let mut story = Story::new();
    story.cairn(["init", "--name", "hello"]).ok();
    story.live(&Project::new());
    insta::assert_snapshot!("life_local", story.text);
}

#[test]
fn on_a_registry() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let mut story = Story::new();
    story.live(&Project::new().repository(server.repository("team/hello")));
    insta::assert_snapshot!("life_registry", story.text);
}
