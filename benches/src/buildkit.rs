//! BuildKit: a daemon for the length of a measurement, and its client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, is_installed, measure};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `buildkitd`, which ends when this value goes.
pub struct BuildKit {
    child: Child,
    directory: PathBuf,
}

impl BuildKit {
    /// Starts a daemon in `directory`, which need not be there. An error says why there is none.
    pub fn start(directory: PathBuf) -> Result<Self> {
        for name in ["buildkitd", "buildctl", "runc"] {
            if !is_installed(name) {
                return Err(format!("{name} is not installed"));
            }
        }
        fs::create_dir_all(&directory)
            .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
        let child = Command::new("buildkitd")
            .args([
                "--oci-worker-snapshotter=overlayfs",
                "--oci-worker-net=host",
                "--root",
            ])
            .arg(directory.join("root"))
            .arg("--addr")
            .arg(address(&directory))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start buildkitd: {error}"))?;
        let buildkit = Self { child, directory };
        let begin = Instant::now();
        while measure::run(buildkit.client().args(["debug", "workers"])).is_err() {
            if begin.elapsed() > PATIENCE {
                return Err("buildkitd does not answer".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(buildkit)
    }

    fn client(&self) -> Command {
        let mut command = Command::new("buildctl");
        command.arg("--addr").arg(address(&self.directory));
        command
    }

    /// Builds the Dockerfile of `context`; `output` is what `--output` takes.
    pub fn build(&self, context: &Path, output: Option<&str>, cached: bool) -> Command {
        let mut command = self.client();
        command
            .args(["build", "--frontend", "dockerfile.v0", "--progress", "plain"])
            .arg("--local")
            .arg(format!("context={}", context.display()))
            .arg("--local")
            .arg(format!("dockerfile={}", context.display()));
        if !cached {
            command.arg("--no-cache");
        }
        if let Some(output) = output {
            command.args(["--output", output]);
        }
        command
    }

    /// Forgets what it has built.
    pub fn prune(&self) -> Result<()> {
        measure::run(self.client().args(["prune", "--all"]))
    }
}

fn address(directory: &Path) -> String {
    format!("unix://{}", directory.join("socket").display())
}

impl Drop for BuildKit {
    fn drop(&mut self) {
        // SIGTERM, so that it takes its mounts away.
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
