//! `cairn serve` with TLS, and clients of others that check its certificate.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;

use super::peer::Peer;
use crate::harness::{LIMIT, Output, Project, Sandbox, Server};

/// A server with the certificate and the key of its project.
const SERVE: [&str; 7] = [
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--tls-cert",
    "cert.pem",
    "--tls-key",
    "key.pem",
];

/// Writes a certificate for loopback that signs itself, and its key, and gives the directory in which skopeo finds
/// it.
pub(super) fn certificate(openssl: &Peer<'_>, sandbox: &Sandbox, name: &str) -> PathBuf {
    let trusted = sandbox.root().join(name);
    std::fs::create_dir(&trusted).expect("a directory in an own one");
    let (cert, key) = (
        sandbox.project().join("cert.pem"),
        sandbox.project().join("key.pem"),
    );
    openssl
        .run(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=cairn",
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:registry.example.org",
            // A server's certificate that is an authority's too is refused by rustls.
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            key.to_str().expect("letters"),
            "-out",
            cert.to_str().expect("letters"),
        ])
        .ok();
    std::fs::copy(cert, trusted.join("ca.crt")).expect("a file can be copied");
    trusted
}

fn list(skopeo: &Peer<'_>, server: &Server, trusted: &Path) -> Output {
    let directory = trusted.to_str().expect("letters");
    let repository = format!("docker://{}/none", server.host());
    skopeo.run(&["list-tags", "--cert-dir", directory, &repository])
}

#[test]
fn skopeo_checks_the_certificate_and_sees_a_new_one_without_a_restart() {
    let sandbox = Sandbox::new();
    let (Some(openssl), Some(skopeo)) = (Peer::find("openssl", &sandbox), Peer::find("skopeo", &sandbox))
    else {
        return;
    };
    let first = certificate(&openssl, &sandbox, "first");
    let server = Server::start(sandbox.command(SERVE));
    // What is not there is said over a connection that was believed; another certificate is not.
    let is_believed = |output: &Output| output.stderr.contains("404 (Not Found)");
    assert!(is_believed(&list(&skopeo, &server, &first)));

    let second = certificate(&openssl, &sandbox, "second");
    assert!(!is_believed(&list(&skopeo, &server, &second)) || !is_believed(&list(&skopeo, &server, &first)));
    server.signal(Signal::HUP);
    let begun = Instant::now();
    while !is_believed(&list(&skopeo, &server, &second)) {
        assert!(begun.elapsed() < LIMIT, "the new certificate is not shown");
    }
    assert!(!is_believed(&list(&skopeo, &server, &first)));

    // A key that does not fit: the certificate stays, and the operator hears of it.
    std::fs::write(sandbox.project().join("key.pem"), "nonsense").expect("an own file");
    server.signal(Signal::HUP);
    assert!(is_believed(&list(&skopeo, &server, &second)));
    server.signal(Signal::TERM);
    let ended = server.wait().says("the certificate was read again");
    ended.says("the new certificate is not taken, the one before stays");
}

/// Without `CA:FALSE`, as docker's documentation of private registries makes it: a certificate that is its own authority.
fn own_authority(openssl: &Peer<'_>, directory: &Path) {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let subject = "subjectAltName=IP:127.0.0.1";
    let (cert, key) = (cert.to_str().expect("letters"), key.to_str().expect("letters"));
    let made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=cairn",
    ];
    let files = ["-addext", subject, "-keyout", key, "-out", cert];
    openssl.run(&[&made[..], &files[..]].concat()).ok();
}

#[test]
fn h2_cairn_believes_the_certificate_that_was_named_and_no_other() {
    let (sandbox, far, other) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
    let Some(openssl) = Peer::find("openssl", &sandbox) else {
        return;
    };
    own_authority(&openssl, &far.project());
    own_authority(&openssl, &other.project());
    let server = Server::start(far.command(SERVE));
    let repository = server.repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "1");
    let named = |sandbox: &Sandbox| sandbox.project().join("cert.pem").display().to_string();

    let refused = sandbox.cairn(["--ca", &named(&other), "push"]).fails(3);
    let refused = refused.says(&format!("the certificate of {repository} is signed by itself"));
    refused.says("hint: if it is the right one: --ca FILE");
    sandbox
        .cairn(["--ca", "cairn.toml", "push"])
        .fails(3)
        .says("there is no certificate in it");
    let pushed = sandbox
        .cairn(["--ca", &named(&far), "push", "--tag", "1.0.0"])
        .ok();

    // The same, for this host alone and for every command.
    let kept = sandbox
        .home()
        .join("config/containers/certs.d")
        .join(server.host());
    std::fs::create_dir_all(&kept).expect("a directory in an own one");
    std::fs::copy(named(&far), kept.join("ca.crt")).expect("a file can be copied");
    let pulled = sandbox.cairn(["pull", &format!("{repository}:1.0.0")]).ok();
    assert_eq!(pulled.digest(), pushed.digest());
}

#[test]
fn h1_plain_http_beyond_loopback_is_refused_without_the_flag() {
    let sandbox = Sandbox::new();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = sandbox.cairn(["serve", "--listen", address]).exits(1);
        refused.says("--tls-cert");
    }
    let alone = sandbox.cairn(["serve", "--tls-cert", "cert.pem"]).exits(2);
    alone.says("--tls-key");
    sandbox.write("cert.pem", "nonsense");
    let wrong = sandbox
        .cairn(["serve", "--tls-cert", "cert.pem", "--tls-key", "cert.pem"])
        .exits(1);
    wrong.says("there is no certificate in the file");
}
