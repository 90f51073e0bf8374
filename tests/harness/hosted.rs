use serde_json::Value;

use super::{Output, Project, Sandbox, Server};

/// A project whose images and ledger are on a server, as `team/hello`.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) sandbox: Sandbox,
    _store: Sandbox,
    pub(crate) server: Server,
}

impl Hosted {
    pub(crate) fn new() -> Self {
        let (sandbox, store) = (Sandbox::new(), Sandbox::new());
        let server = store.serve();
        sandbox.write_project(&Project::new().repository(server.repository("team/hello")), "0");
        Self {
            sandbox,
            _store: store,
            server,
        }
    }

    pub(crate) fn cairn(&self, arguments: &[&str]) -> Output {
        self.sandbox.cairn(arguments)
    }

    /// Releases a program of its own; gives the digest.
    pub(crate) fn release(&self, version: &str, to: &str) -> String {
        self.sandbox.write_app(version);
        self.cairn(&["release", version, "--channel", to]).ok().digest()
    }

    /// What `cairn status` says of a channel.
    #[track_caller]
    pub(crate) fn channel(&self, name: &str) -> Value {
        let status = self.cairn(&["--json", "status"]).ok().json();
        let rows = status["channels"].as_array().expect("channels");
        let row = rows.iter().find(|row| row["name"] == name);
        row.expect("the channel shows something").clone()
    }

    /// What a tag shows.
    pub(crate) fn tagged(&self, tag: &str) -> String {
        self.sandbox
            .tagged(&self.server.repository(&format!("team/hello:{tag}")))
    }
}
