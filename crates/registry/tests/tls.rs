//! TLS: certificates, their replacement, and those who speak something else.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;

use cairn_registry::server::{ServerConfig, Tls, TlsError};
use cairn_store::Memory;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use support::Running;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A certificate for loopback and its key, PEM.
fn certificate() -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

/// A client that believes this certificate and no other.
fn client(certificate: &str) -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap()])
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

async fn start(tls: &Arc<Tls>) -> Running {
    let config = ServerConfig {
        tls: Some(Arc::clone(tls)),
        ..ServerConfig::default()
    };
    Running::start(Arc::new(Memory::new()), config).await
}

async fn status(certificate: &str, server: &Running) -> Option<u16> {
    let answer = client(certificate)
        .get(format!("https://{}/v2/", server.address))
        .send()
        .await;
    answer.ok().map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn h2_a_certificate_is_replaced_while_connections_are_open_and_a_broken_one_is_not_taken() {
    let ((first, first_key), (second, second_key)) = (certificate(), certificate());
    let tls = Arc::new(Tls::new(first.as_bytes(), first_key.as_bytes()).unwrap());
    let server = start(&tls).await;
    assert_eq!(status(&first, &server).await, Some(200));
    assert_eq!(status(&second, &server).await, None);
    let kept = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(first.as_bytes()).unwrap()])
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("https://{}/v2/", server.address);
    assert_eq!(kept.get(&url).send().await.unwrap().text().await.unwrap(), "{}");

    let broken: [(&str, &str); 5] = [
        (&second, &first_key),
        ("", &second_key),
        (&second, ""),
        (&second_key, &second),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &second_key,
        ),
    ];
    for (certificate, key) in broken {
        assert!(tls.replace(certificate.as_bytes(), key.as_bytes()).is_err());
        assert_eq!(status(&first, &server).await, Some(200));
    }
    tls.replace(second.as_bytes(), second_key.as_bytes()).unwrap();
    assert_eq!(status(&second, &server).await, Some(200));
    assert_eq!(status(&first, &server).await, None);
    // The connection from before goes on.
    assert_eq!(kept.get(&url).send().await.unwrap().status(), 200);
    server.stop().await.unwrap().unwrap();
}

#[test]
fn errors_say_which_file_is_wrong() {
    let (certificate, key) = certificate();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let error = |certificate: &str, key: &str| Tls::new(certificate.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(matches!(error(&key, &key), TlsError::NoCertificate));
    assert!(matches!(error(&certificate, &certificate), TlsError::Key(_)));
    assert!(matches!(error(&certificate, &other), TlsError::Unusable(_)));
    assert!(matches!(
        error(
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            &key
        ),
        TlsError::Certificate(_)
    ));
    assert!(!format!("{:?}", error(&certificate, &other)).contains("PRIVATE"));
}

#[tokio::test]
async fn f7_who_does_not_finish_the_handshake_keeps_nobody_else_out() {
    let (certificate, key) = certificate();
    let tls = Arc::new(Tls::new(certificate.as_bytes(), key.as_bytes()).unwrap());
    let server = start(&tls).await;
    let mut silent = Vec::new();
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        silent.push(stream);
    }
    assert_eq!(status(&certificate, &server).await, Some(200));
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    plain.shutdown().await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("HTTPS"),
        "{answer}"
    );
    assert_eq!(status(&certificate, &server).await, Some(200));
}
