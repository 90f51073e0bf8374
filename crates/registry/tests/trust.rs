//! TLS from the client's side: whom it believes, as whom it comes, and through which proxies.
//!
//! The registries here are on loopback under other names: a proxy of the test leads to them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use cairn_registry::client::{
    Certificates, CertificatesError, Client, ClientConfig, ClientError, HostTls, Pem, PlainHttp, Proxies,
    Remote,
};
use cairn_store::error::CertificateProblem;
use cairn_store::{Repository, RepositoryError};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use support::{Fake, answer, chain, config, fake, small, tag};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

fn named(name: &str) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::CommonName, name);
    whole
}

/// An authority.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = named("authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for these names, and its key.
fn signed(
    by: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> (rcgen::Certificate, KeyPair) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap(), key)
}

/// A TLS server that answers every request with 404, and tells whether a client came with a certificate.
async fn serve(
    certificate: &(rcgen::Certificate, KeyPair),
    clients: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> (SocketAddr, Arc<Mutex<Vec<bool>>>) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = rustls::ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(certificate.1.serialize_der()).unwrap();
    let config = builder
        .with_single_cert(vec![certificate.0.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let came = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&came);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            noted
                .lock()
                .unwrap()
                .push(stream.get_ref().1.peer_certificates().is_some());
            let mut head = [0; 4096];
            drop(stream.read(&mut head).await);
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            drop(stream.write_all(answer).await);
            drop(stream.shutdown().await);
        }
    });
    (address, came)
}

/// A proxy that leads every `CONNECT` to `to`, and what it was asked for.
async fn tunnel(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    stream.read_line(&mut head).await.unwrap();
                }
                noted.lock().unwrap().push(head);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(to).await.unwrap();
                drop(copy_bidirectional(&mut stream, &mut server).await);
            });
        }
    });
    (address, asked)
}

/// One answer for one host.
#[derive(Debug)]
struct Known(&'static str, HostTls);

impl Certificates for Known {
    fn find(&self, host: &str) -> Result<HostTls, CertificatesError> {
        Ok(if host == self.0 {
            self.1.clone()
        } else {
            HostTls::default()
        })
    }
}

const HOST: &str = "registry.example.org";

fn trusting(authority: &CertifiedIssuer<'static, KeyPair>) -> HostTls {
    HostTls {
        authorities: vec![pem(authority.pem())],
        ..HostTls::default()
    }
}

fn pem(text: String) -> Pem {
    Pem {
        name: "the test".to_owned(),
        bytes: text.into_bytes(),
    }
}

fn client(tls: HostTls, proxy: SocketAddr) -> Client {
    Client::new(ClientConfig {
        certificates: Arc::new(Known(HOST, tls)),
        proxies: Proxies {
            https: Some(format!("http://{proxy}")),
            ..Proxies::default()
        },
        ..config()
    })
}

fn remote(client: &Client, host: &str) -> Remote {
    client.repository(host, "a".parse().unwrap()).unwrap()
}

/// What is wrong with the certificate, and the error's text.
async fn refusal(tls: HostTls, address: SocketAddr) -> (CertificateProblem, String) {
    let (proxy, asked) = tunnel(address).await;
    let error = remote(&client(tls, proxy), HOST)
        .read_manifest(&tag("x"))
        .await
        .unwrap_err();
    assert_eq!(
        asked.lock().unwrap().len(),
        1,
        "asked once: it does not get better"
    );
    match error {
        RepositoryError::Certificate { problem, .. } => (problem, error.to_string()),
        other => panic!("{}", chain(&other)),
    }
}

#[tokio::test]
async fn h2_expired_self_signed_and_foreign_certificates_are_refused_and_it_is_said_which() {
    let authority = authority();
    let tls = || trusting(&authority);
    let good = signed(&authority, &[HOST], |_| {});
    let (address, _) = serve(&good, None).await;
    let (proxy, asked) = tunnel(address).await;
    let read = remote(&client(tls(), proxy), HOST).read_manifest(&tag("x")).await;
    assert_eq!(read.unwrap(), None);
    assert!(asked.lock().unwrap()[0].starts_with("CONNECT registry.example.org:443 HTTP/1.1\r\n"));

    // Nobody said that the authority is to be believed.
    let (problem, text) = refusal(HostTls::default(), address).await;
    assert_eq!(problem, CertificateProblem::Untrusted);
    assert!(
        text.contains("the certificate of registry.example.org/a is signed by itself"),
        "{text}"
    );

    let expired = signed(&authority, &[HOST], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 3);
    });
    let (problem, text) = refusal(tls(), serve(&expired, None).await.0).await;
    assert_eq!(problem, CertificateProblem::Expired);
    assert!(text.contains("has expired on Mon, 03 Feb 2020"), "{text}");

    let early = signed(&authority, &[HOST], |params| {
        params.not_before = date_time_ymd(3000, 1, 1);
    });
    let (problem, text) = refusal(tls(), serve(&early, None).await.0).await;
    assert_eq!(problem, CertificateProblem::NotYetValid, "{text}");

    let other = signed(&authority, &["other.example.org"], |_| {});
    let (problem, text) = refusal(tls(), serve(&other, None).await.0).await;
    assert_eq!(problem, CertificateProblem::OtherName);
    assert!(
        text.contains("is not for this host, but for other.example.org"),
        "{text}"
    );

    // Signed by itself: as a server's certificate, as the authority's own, and as one that only has its name.
    for (is_ca, name) in [
        (IsCa::NoCa, "stranger"),
        (IsCa::NoCa, "authority"),
        (IsCa::Ca(BasicConstraints::Unconstrained), "stranger"),
    ] {
        let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
        params.is_ca = is_ca;
        params.distinguished_name = named(name);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let (problem, text) = refusal(tls(), serve(&(own, key), None).await.0).await;
        assert_eq!(problem, CertificateProblem::Untrusted, "{text}");
    }
}

/// A certificate for these names that says to be an authority, as `openssl req -x509` makes it, and a server with it.
async fn own_authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> (SocketAddr, HostTls) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = (params.self_signed(&key).unwrap(), key);
    let tls = HostTls {
        authorities: vec![pem(certificate.0.pem())],
        ..HostTls::default()
    };
    (serve(&certificate, None).await.0, tls)
}

#[tokio::test]
async fn h2_a_certificate_that_is_its_own_authority_is_believed_if_it_is_the_one_that_was_named() {
    let (address, tls) = own_authority(HOST, |_| {}).await;
    let (proxy, _) = tunnel(address).await;
    let client = client(tls.clone(), proxy);
    assert_eq!(
        remote(&client, HOST).read_manifest(&tag("x")).await.unwrap(),
        None
    );
    // Another one with the same names is not.
    let (other, _) = own_authority(HOST, |_| {}).await;
    refusal(tls, other).await;
    // Neither is it for other names, or after its time.
    let (address, tls) = own_authority("other.example.org", |_| {}).await;
    assert_eq!(refusal(tls, address).await.0, CertificateProblem::OtherName);
    let (address, tls) = own_authority(HOST, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 3);
    })
    .await;
    let (problem, text) = refusal(tls, address).await;
    assert_eq!(problem, CertificateProblem::Expired);
    assert!(text.contains("has expired on Mon, 03 Feb 2020"), "{text}");
    let (address, tls) = own_authority(HOST, |params| params.not_before = date_time_ymd(3000, 1, 1)).await;
    assert_eq!(refusal(tls, address).await.0, CertificateProblem::NotYetValid);
}

#[tokio::test]
async fn h2_an_authority_is_for_the_host_it_was_given_for() {
    let authority = authority();
    let certificate = signed(&authority, &[HOST, "other.example.org"], |_| {});
    let (address, _) = serve(&certificate, None).await;
    let (proxy, _) = tunnel(address).await;
    let client = client(trusting(&authority), proxy);
    assert_eq!(
        remote(&client, HOST).read_manifest(&tag("x")).await.unwrap(),
        None
    );
    let error = remote(&client, "other.example.org")
        .read_manifest(&tag("x"))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Certificate { .. }), "{error:?}");
}

#[tokio::test]
async fn our_certificate_goes_to_its_host_alone() {
    let authority = authority();
    let certificate = signed(&authority, &[HOST, "other.example.org"], |_| {});
    let ours = signed(&authority, &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let (address, came) = serve(&certificate, Some(&authority)).await;
    let (proxy, _) = tunnel(address).await;
    let tls = HostTls {
        identity: Some(pem(format!("{}{}", ours.0.pem(), ours.1.serialize_pem()))),
        ..trusting(&authority)
    };
    let everywhere = |host: &'static str| {
        let client = client(tls.clone(), proxy);
        (remote(&client, host), client)
    };
    assert_eq!(everywhere(HOST).0.read_manifest(&tag("x")).await.unwrap(), None);
    assert_eq!(*came.lock().unwrap(), [true]);

    // A redirect to another host is followed without it.
    let elsewhere = "https://registry.example.org/v2/a/manifests/y";
    let server = fake(move |_| Some(answer(307, &[("location", elsewhere)], ""))).await;
    let plain = Client::new(ClientConfig {
        certificates: Arc::new(Known(
            HOST,
            HostTls {
                identity: None,
                ..tls.clone()
            },
        )),
        proxies: Proxies {
            https: Some(format!("http://{proxy}")),
            ..Proxies::default()
        },
        ..config()
    });
    assert_eq!(
        remote(&plain, &server.host())
            .read_manifest(&tag("x"))
            .await
            .unwrap(),
        None
    );
    assert_eq!(*came.lock().unwrap(), [true, false]);
}

#[tokio::test]
async fn this_machine_is_spoken_to_over_tls_where_that_is_wanted() {
    let authority = authority();
    let certificate = signed(&authority, &["127.0.0.1"], |_| {});
    let (address, came) = serve(&certificate, None).await;
    let host: &'static str = address.to_string().leak();
    let tls = HostTls {
        always: true,
        ..trusting(&authority)
    };
    let client = Client::new(ClientConfig {
        certificates: Arc::new(Known(host, tls)),
        ..config()
    });
    assert_eq!(
        remote(&client, host).read_manifest(&tag("x")).await.unwrap(),
        None
    );
    assert_eq!(came.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let bad = [
        HostTls {
            authorities: vec![pem("nothing".to_owned())],
            ..HostTls::default()
        },
        HostTls {
            authorities: vec![pem(
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            )],
            ..HostTls::default()
        },
        HostTls {
            identity: Some(pem("secret-sentinel".to_owned())),
            ..HostTls::default()
        },
    ];
    for tls in bad {
        let client = client(tls, ([127, 0, 0, 1], 1).into());
        let error = client.repository(HOST, "a".parse().unwrap()).unwrap_err();
        assert!(matches!(error, ClientError::Setup(_)), "{error:?}");
        assert!(!format!("{error:?}{}", chain(&error)).contains("sentinel"));
    }
}

/// A client that speaks plain HTTP everywhere.
fn plain(proxies: Proxies) -> Client {
    Client::new(ClientConfig {
        plain_http: PlainHttp::Allow,
        proxies,
        ..config()
    })
}

#[tokio::test]
async fn a_proxy_for_http_gets_what_is_meant_for_other_machines() {
    let proxy: Fake = fake(|_| Some(support::manifest_answer(small().bytes(), &[]))).await;
    let proxies = Proxies {
        http: Some(proxy.url("").replace("http://", "http://user:sentinel@")),
        https: None,
        except: "192.0.2.0/24, .internal.example.org".to_owned(),
    };
    let client = plain(proxies.clone());
    let read = remote(&client, HOST).read_manifest(&tag("x")).await.unwrap();
    assert_eq!(read, Some(small()));
    let seen = proxy.seen();
    assert_eq!(
        seen[0].uri.to_string(),
        "http://registry.example.org/v2/a/manifests/x"
    );
    assert!(seen[0].headers.contains_key("proxy-authorization"));
    // This machine is reached without it.
    let local = fake(|_| Some(answer(404, &[], ""))).await;
    assert_eq!(
        remote(&client, &local.host())
            .read_manifest(&tag("x"))
            .await
            .unwrap(),
        None
    );
    assert_eq!(proxy.seen().len(), 1);
    assert!(!format!("{proxies:?} {client:?}").contains("sentinel"));
}

#[tokio::test]
async fn h6_a_proxy_that_is_none_is_an_error_without_its_password() {
    let proxies = Proxies {
        http: Some("http://user:sentinel@".to_owned()),
        ..Proxies::default()
    };
    let error = plain(proxies).repository(HOST, "a".parse().unwrap()).unwrap_err();
    let text = format!("{error:?}{}", chain(&error));
    assert!(
        text.contains("proxy for http") && !text.contains("sentinel"),
        "{text}"
    );
}
