//! Pushing and pulling the large image, and moving a tag.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::input::{self, Tree};
use crate::measure::{self, Promise, Row};
use crate::server::Server;
use crate::{Bench, Report, Result, is_installed};

/// Peers, and how each copies the layout `$LAYOUT` to `$TARGET` and back to `$OUT`.
const PEERS: [(&str, &str, &str); 3] = [
    (
        "crane",
        "crane push --insecure \"$LAYOUT\" \"$TARGET\"",
        "crane pull --insecure --format=oci \"$TARGET\" \"$OUT\"",
    ),
    (
        "regctl",
        "regctl --host \"reg=$HOST,tls=disabled\" image copy \"ocidir://$LAYOUT:1\" \"$TARGET\"",
        "regctl --host \"reg=$HOST,tls=disabled\" image copy \"$TARGET\" \"ocidir://$OUT:1\"",
    ),
    (
        "skopeo",
        "skopeo copy -q --dest-tls-verify=false \"oci:$LAYOUT:1\" \"docker://$TARGET\"",
        "skopeo copy -q --src-tls-verify=false \"docker://$TARGET\" \"oci:$OUT:1\"",
    ),
];

impl Bench {
    /// The image of `big` to the registry of distribution 3 and back, from a layout to a layout.
    pub(crate) fn transfers(&self, big: &Tree, report: &mut Report) -> Result<()> {
        let layout = self.work.path.join("layout");
        let output = format!("oci:{}:1", layout.display());
        measure::run(self.cairn(&big.context).args(["build", "--output", &output]))?;
        let server = match Server::distribution("registry", &self.work.path.join("registry-3")) {
            Ok(server) => server,
            Err(why) => {
                report.add(format!("\nPushing and pulling are not measured: {why}.\n"));
                return Ok(());
            }
        };
        let target = format!("{}/bench/big:1", server.host);
        let out = self.work.path.join("pulled");
        let copy = |from: &str, to: &str| {
            let mut command = self.cairn(&big.context);
            command.args(["copy", from, to]);
            command
        };
        let peer = |script: &str| {
            let mut command = Command::new("sh");
            command
                .args(["-euc", script])
                .env("LAYOUT", &layout)
                .env("TARGET", &target)
                .env("HOST", &server.host)
                .env("OUT", &out);
            command
        };
        let emptied = |_| server.empty();
        let removed = |_| measure::remove(&out);
        let back = format!("oci:{}:1", out.display());
        let mut pushes = vec![
            self.runs()
                .measure("cairn copy", emptied, || copy(&output, &target))?,
        ];
        let mut pulls = vec![
            self.runs()
                .measure("cairn copy", removed, || copy(&target, &back))?,
        ];
        for (name, push, pull) in PEERS.iter().filter(|(name, ..)| is_installed(name)) {
            pushes.push(self.runs().measure(name, emptied, || peer(push))?);
            pulls.push(self.runs().measure(name, removed, || peer(pull))?);
        }
        let promises = ["crane", "regctl"].map(|name| Promise::slower(name, 1.0));
        let title = "Push the image of `big` to distribution 3, from a layout";
        report.add(measure::table(title, &pushes, &promises));
        let title = "Pull it into a layout (Cairn verifies it and flushes it to the disk)";
        report.add(measure::table(title, &pulls, &promises));
        measure::remove(&out)?;
        measure::remove(&layout)
    }

    /// `cairn serve`, with a store of its own.
    pub(crate) fn serve(&self) -> Result<Server> {
        let storage = self.work.path.join("served");
        let mut command = self.cairn(&self.work.path);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(&storage);
        Server::cairn(&mut command, storage)
    }

    pub(crate) fn rollback(&self) -> Result<Vec<Row>> {
        let server = self.serve()?;
        let repository = format!("{}/bench/app", server.host);
        let context = self.work.path.join("app");
        for version in ["1.0.0", "2.0.0"] {
            input::write_application(&context, &repository, version)?;
            let release = ["release", version, "--channel", "prod"];
            measure::run(self.cairn(&context).args(release))?;
        }
        let mut rows = vec![self.rollback_cairn(&context)?];
        let digest = measure::output(self.cairn(&context).args(["rollback", "prod"]))?;
        let digest = digest.trim().rsplit('@').next().unwrap_or_default().to_owned();
        for (name, script) in [
            ("crane", "crane tag --insecure \"$REPOSITORY@$DIGEST\" other"),
            (
                "skopeo",
                "skopeo copy -q --all --src-tls-verify=false --dest-tls-verify=false \
                 \"docker://$REPOSITORY@$DIGEST\" \"docker://$REPOSITORY:other\"",
            ),
        ] {
            let command = || {
                let mut command = self.shell(script, &context);
                command.env("REPOSITORY", &repository).env("DIGEST", &digest);
                command.stdin(Stdio::null());
                command
            };
            if is_installed(name) {
                rows.push(self.runs().measure(name, |_| Ok(()), command)?);
            }
        }
        fs::remove_dir_all(&context).map_err(|error| error.to_string())?;
        Ok(rows)
    }

    /// Each rollback holds the channel, so it has to be resumed and moved forward before the next.
    fn rollback_cairn(&self, context: &Path) -> Result<Row> {
        let cairn = |arguments: &[&str]| {
            let mut command = self.cairn(context);
            command.args(arguments);
            command
        };
        let forward = |round: usize| match round {
            0 => Ok(()),
            _ => {
                measure::run(&mut cairn(&["resume", "prod"]))?;
                measure::run(&mut cairn(&["promote", "2.0.0", "prod"]))
            }
        };
        self.runs()
            .measure("cairn rollback", forward, || cairn(&["rollback", "prod"]))
    }
}
