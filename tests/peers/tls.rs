//! `cairn serve` with TLS, and clients of others that check its certificate.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;

use super::peer::Peer;
use crate::harness::{LIMIT, Output, Sandbox, Server};

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
    let options = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        "cert.pem",
        "--tls-key",
        "key.pem",
    ];
    let server = Server::start(sandbox.command(options));
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
