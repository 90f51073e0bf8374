//! A registry with TLS and a password, and what each client does there: sign in, push, pull.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::buildah::Buildah;
use super::login::HASH;
use super::peer::Peer;
use super::podman::Podman;
use super::registry::DockerRegistry;
use super::tls::certificate;
use crate::harness::{Output, Project, Sandbox, Server, Tunnel, run, run_with};

/// The name in the certificate. Only a [`Tunnel`] leads there.
const NAME: &str = "registry.example.org";

/// The registry, as clients reach it.
#[derive(Debug)]
pub(super) struct Place {
    host: String,
    /// What stands before the names of all repositories.
    prefix: &'static str,
    /// The directory with the certificate that is to be trusted, `ca.crt`.
    trusted: PathBuf,
    /// Leads Cairn to a host of that name, and to the usual port, which is not the one that is listened on.
    tunnel: Option<Tunnel>,
    /// Everything that is ended with it.
    _running: Vec<Box<dyn Debug>>,
}

impl Place {
    /// Takes over what runs, and listens at `host` with the certificate in `trusted`.
    pub(super) fn new(
        host: &str,
        prefix: &'static str,
        trusted: PathBuf,
        running: Vec<Box<dyn Debug>>,
    ) -> Self {
        Self {
            host: host.to_owned(),
            prefix,
            trusted,
            tunnel: None,
            _running: running,
        }
    }

    /// The same, with a name and the usual port as Cairn sees it, as behind a port that is forwarded.
    pub(super) fn forwarded(mut self) -> Self {
        self.tunnel = Some(Tunnel::to(&self.host));
        self
    }

    /// `cairn serve` with a certificate of its own and a file of users. None if openssl is missing.
    pub(super) fn cairn_serve(registry: &Sandbox) -> Option<Self> {
        let openssl = Peer::find("openssl", registry)?;
        let trusted = certificate(&openssl, registry, "trusted");
        users(registry);
        let options = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--htpasswd",
            "users",
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            "key.pem",
        ];
        let server = Server::start(registry.command(options));
        let host = server.host().to_owned();
        Some(Self::new(&host, "", trusted, vec![Box::new(server)]))
    }

    /// Debian's docker-registry with a certificate and a file of users. None if it or openssl is missing.
    pub(super) fn docker_registry(registry: &Sandbox) -> Option<Self> {
        let openssl = Peer::find("openssl", registry)?;
        let trusted = certificate(&openssl, registry, "trusted");
        let users = users(registry);
        let project = registry.project();
        let configuration = format!(
            "  tls:\n    certificate: {0}/cert.pem\n    key: {0}/key.pem\nauth:\n  htpasswd:\n    realm: test\n    path: {1}\n",
            project.display(),
            users.display()
        );
        let server = DockerRegistry::start_with(registry, &configuration)?;
        let host = server.host().to_owned();
        Some(Self::new(&host, "", trusted, vec![Box::new(server)]))
    }

    /// `127.0.0.1:PORT`
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The certificate that is to be trusted.
    pub(super) fn authority(&self) -> PathBuf {
        self.trusted.join("ca.crt")
    }

    /// A repository, as other people's clients call it.
    pub(super) fn repository(&self, name: &str) -> String {
        format!("{}/{}{name}", self.host, self.prefix)
    }

    /// A repository, as Cairn calls it.
    pub(super) fn named(&self, name: &str) -> String {
        format!("{}/{}{name}", self.name(), self.prefix)
    }

    fn name(&self) -> &str {
        if self.tunnel.is_some() { NAME } else { &self.host }
    }

    /// Runs Cairn's client.
    pub(super) fn cairn(&self, sandbox: &Sandbox, arguments: &[&str]) -> Output {
        run(&mut self.command(sandbox, arguments))
    }

    fn command(&self, sandbox: &Sandbox, arguments: &[&str]) -> Command {
        let mut command = sandbox.command(arguments);
        // Also says that this machine is to be spoken to over TLS.
        command.arg("--ca").arg(self.authority());
        if let Some(tunnel) = &self.tunnel {
            tunnel.lead(&mut command);
        }
        command
    }

    /// Signs Cairn's client in.
    #[track_caller]
    pub(super) fn sign_in(&self, sandbox: &Sandbox) {
        let arguments = ["login", self.name(), "-u", "ann", "--password-stdin"];
        let mut command = self.command(sandbox, &arguments);
        run_with(&mut command, "pw").ok().says("signed in");
    }

    /// Signs in with podman, skopeo or buildah, which all write the same file.
    fn others_sign_in<'a>(&'a self, mut client: impl FnMut(&[&'a str]) -> Output) {
        let trusted = ["--cert-dir", text(&self.trusted)];
        let with = |password| {
            [
                "login", trusted[0], trusted[1], "-u", "ann", "-p", password, &self.host,
            ]
        };
        assert_ne!(
            client(&with("wrong")).code,
            Some(0),
            "a wrong password is believed"
        );
        client(&with("pw")).ok();
    }

    /// Releases two versions with Cairn, goes back, and looks at all of it; returns the digest that prod shows.
    #[track_caller]
    pub(super) fn release_and_roll_back(&self, sandbox: &Sandbox, mode: &str) -> String {
        let repository = self.named("team/hello");
        sandbox.write_project(&Project::new().repository(&repository), "1");
        let release = |version| ["release", version, "--channel", "prod"];
        let refused = self.cairn(sandbox, &release("1.0.0")).fails(3);
        refused.says("no credentials were given");
        self.sign_in(sandbox);
        let first = self.cairn(sandbox, &release("1.0.0")).ok().digest();
        sandbox.write_app("2");
        self.cairn(sandbox, &release("2.0.0")).ok();
        let back = self.cairn(sandbox, &["rollback", "prod"]).ok();
        assert_eq!(back.digest(), first);
        let status = self.cairn(sandbox, &["--json", "status"]).ok().json();
        assert_eq!(status["mode"], mode, "{status}");
        let prod = &status["channels"][0];
        assert_eq!(
            [&prod["digest"], &prod["agrees"]],
            [&first.as_str().into(), &serde_json::Value::Bool(true)]
        );
        self.cairn(sandbox, &["audit", "--deep"])
            .ok()
            .prints("no finding");

        let elsewhere = Sandbox::new();
        self.sign_in(&elsewhere);
        let pulled = self.cairn(&elsewhere, &["pull", &format!("{repository}:prod")]);
        assert_eq!(pulled.ok().digest(), first);
        for name in self.tunnel.iter().flat_map(Tunnel::asked) {
            assert_eq!(name, format!("{NAME}:443"));
        }
        first
    }

    /// An image of Cairn's goes there with skopeo and comes back.
    #[track_caller]
    pub(super) fn skopeo_goes_round(&self, sandbox: &Sandbox, skopeo: &Peer<'_>) {
        let (layout, digest) = layout(sandbox);
        self.others_sign_in(|arguments| skopeo.run(arguments));
        let trusted = text(&self.trusted);
        let image = format!("docker://{}:1", self.repository("team/skopeo"));
        let back = format!("oci:{}:1", sandbox.root().join("back").display());
        let copy = ["--insecure-policy", "copy", "--preserve-digests"];
        let there = ["--dest-cert-dir", trusted, &format!("oci:{layout}:1"), &image];
        skopeo.run(&[copy.as_slice(), &there].concat()).ok();
        let here = ["--src-cert-dir", trusted, &image, &back];
        skopeo.run(&[copy.as_slice(), &here].concat()).ok();
        let inspect = ["inspect", "--format", "{{.Digest}}", &back];
        assert_eq!(skopeo.run(&inspect).ok().digest(), digest);
        let list = ["list-tags", "--cert-dir", trusted, &image[..image.len() - 2]];
        skopeo.run(&list).ok().prints("\"1\"");
        self.is_whole(sandbox, "team/skopeo:1", Some(&digest));
    }

    /// The same with crane.
    #[track_caller]
    pub(super) fn crane_goes_round(&self, sandbox: &Sandbox, crane: &Peer<'_>) {
        let (layout, digest) = layout(sandbox);
        let crane = |arguments: &[&str]| {
            let mut command = crane.command(arguments);
            run(command.env("SSL_CERT_FILE", self.authority()))
        };
        let image = format!("{}:1", self.repository("team/crane"));
        crane(&["push", &layout, &image])
            .exits(1)
            .says("401 Unauthorized");
        crane(&["auth", "login", "-u", "ann", "-p", "pw", &self.host]).ok();
        crane(&["push", &layout, &image]).ok();
        assert_eq!(crane(&["digest", &image]).ok().digest(), digest);
        // From one repository to another: its blobs are mounted, or sent again where the proxy hides the name.
        let copy = format!("{}:1", self.repository("team/copy"));
        crane(&["copy", &image, &copy]).ok();
        crane(&["validate", "--remote", &copy]).ok();
        assert_eq!(crane(&["ls", &self.repository("team/copy")]).ok().line(), "1");
        self.is_whole(sandbox, "team/copy:1", Some(&digest));
    }

    /// What Cairn pushed is pulled and pushed by buildah.
    #[track_caller]
    pub(super) fn buildah_goes_round(&self, sandbox: &Sandbox, buildah: &Buildah<'_>) {
        let digest = self.push(sandbox);
        self.others_sign_in(|arguments| buildah.run(arguments));
        let trusted = ["--cert-dir", text(&self.trusted)];
        let image = format!("{}:1", self.repository("team/hello"));
        buildah.run(&["pull", trusted[0], trusted[1], &image]).ok();
        let format = [
            "inspect",
            "--type",
            "image",
            "--format",
            "{{.FromImageDigest}}",
            &image,
        ];
        assert_eq!(buildah.run(&format).ok().digest(), digest);
        let to = format!("docker://{}:1", self.repository("team/buildah"));
        buildah.run(&["push", trusted[0], trusted[1], &image, &to]).ok();
        self.is_whole(sandbox, "team/buildah:1", None);
    }

    /// What stands in `sandbox`, the example `hello`, is pushed by Cairn, pulled, run and pushed by podman.
    #[track_caller]
    pub(super) fn podman_goes_round(&self, sandbox: &Sandbox, podman: &Podman<'_>) {
        let hello = super::hello::Hello::write(sandbox);
        hello.set_platform();
        hello.build();
        self.sign_in(sandbox);
        let name = format!("{}:1", self.named("team/hello"));
        let digest = self.cairn(sandbox, &["push", &name]).ok().digest();
        sandbox.cairn(["logout", self.name()]).ok();

        self.others_sign_in(|arguments| podman.run(arguments));
        let trusted = ["--cert-dir", text(&self.trusted)];
        let image = format!("{}:1", self.repository("team/hello"));
        podman.run(&["pull", trusted[0], trusted[1], &image]).ok();
        podman.run(&["tag", &image, "localhost/hello:1"]).ok();
        let container = podman.start("round", "localhost/hello:1");
        assert_eq!(container.answer(), "Hello, World! Version 1\n");
        assert_eq!(container.digest(), digest);
        let to = self.repository("team/podman:1");
        podman.run(&["push", trusted[0], trusted[1], &image, &to]).ok();
        self.is_whole(sandbox, "team/podman:1", None);
    }

    /// Pushes a small image with Cairn as `team/hello:1`.
    #[track_caller]
    fn push(&self, sandbox: &Sandbox) -> String {
        sandbox.write_project(&Project::new(), "1");
        self.sign_in(sandbox);
        let name = format!("{}:1", self.named("team/hello"));
        self.cairn(sandbox, &["push", &name]).ok().digest()
    }

    /// Every byte of an image is there, and Cairn pulls it.
    #[track_caller]
    fn is_whole(&self, sandbox: &Sandbox, image: &str, digest: Option<&str>) {
        let image = self.named(image);
        self.sign_in(sandbox);
        self.cairn(sandbox, &["verify", &image]).ok().prints("whole");
        let pulled = self.cairn(sandbox, &["pull", &image]).ok().digest();
        assert!(digest.is_none_or(|digest| digest == pulled), "{pulled}");
    }
}

/// Writes a file of users: `ann`, whose password is `pw`.
pub(super) fn users(registry: &Sandbox) -> PathBuf {
    registry.write("users", format!("ann:{HASH}\n"))
}

/// A layout with the one image of a small project, and its digest.
fn layout(sandbox: &Sandbox) -> (String, String) {
    sandbox.write_project(&Project::new(), "1");
    let digest = sandbox.cairn(["build"]).ok().digest();
    let layout = sandbox.root().join("image").display().to_string();
    let to = format!("oci:{layout}:1");
    sandbox.cairn(["copy", "hello:built", &to]).ok();
    (layout, digest)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}
