//! A real `ssh-agent`, with keys of its own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Output, Sandbox, run, tool};

/// An agent that ends with the test.
#[derive(Debug)]
pub(crate) struct SshAgent<'a> {
    sandbox: &'a Sandbox,
    child: Child,
    socket: PathBuf,
}

impl<'a> SshAgent<'a> {
    /// Starts one, if OpenSSH is installed.
    pub(crate) fn start(sandbox: &'a Sandbox) -> Option<Self> {
        let program = tool("ssh-agent")?;
        let (_, _) = (tool("ssh-add")?, tool("ssh-keygen")?);
        let socket = sandbox.root().join("agent");
        let mut child = Command::new(program)
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ssh-agent starts");
        // It says where it listens once it listens.
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("ssh-agent says something");
        assert!(line.contains("SSH_AUTH_SOCK"), "{line}");
        Some(Self {
            sandbox,
            child,
            socket,
        })
    }

    /// Makes a key of this type that is called `name`, and adds it. Returns its public half, a line.
    pub(crate) fn add(&self, kind: &str, name: &str) -> String {
        let file = self.sandbox.root().join(format!("ssh-{name}"));
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-N", "", "-t", kind, "-C", name, "-f"])
            .arg(&file);
        run(self.confine(&mut keygen)).ok();
        let mut add = Command::new("ssh-add");
        run(self.confine(add.arg("-q").arg(&file))).ok();
        let line =
            std::fs::read_to_string(file.with_extension("pub")).expect("ssh-keygen writes both halves");
        line.trim().to_owned()
    }

    /// Locks it with a password.
    pub(crate) fn lock(&self) {
        use std::os::unix::fs::PermissionsExt;
        let ask = self.sandbox.write("ask", "#!/bin/sh\necho secret\n");
        std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o755)).expect("an own file");
        let mut lock = Command::new("ssh-add");
        self.confine(lock.arg("-x"));
        lock.env("SSH_ASKPASS", ask)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("DISPLAY", "none");
        run(&mut lock).ok();
    }

    fn confine<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        self.sandbox.confine(command);
        command.env("SSH_AUTH_SOCK", &self.socket)
    }

    /// Runs cairn with this agent, and these variables besides.
    pub(crate) fn cairn<const N: usize>(&self, arguments: [&str; N], variables: &[(&str, &str)]) -> Output {
        let mut command = self.sandbox.command(arguments);
        command.env("SSH_AUTH_SOCK", &self.socket);
        run(command.envs(variables.iter().copied()))
    }
}

impl Drop for SshAgent<'_> {
    fn drop(&mut self) {
        self.child.kill().expect("an own child can be killed");
        self.child.wait().expect("an own child can be waited for");
    }
}
