//! A token server for docker-registry: tokens as distribution's specification has them, signed by openssl.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::peer::Peer;
use crate::harness::{PASSWORD, Sandbox, USER};

const SERVICE: &str = "test-registry";

/// The server. It ends with the test's process.
#[derive(Debug)]
pub(super) struct TokenServer {
    realm: String,
    directory: PathBuf,
    granted: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    /// Makes a key, and gives tokens: to the user for whatever is asked, to nobody for reading below `public/`.
    /// None if openssl is not installed.
    pub(super) fn start(sandbox: &Sandbox) -> Option<Self> {
        let openssl = Peer::find("openssl", sandbox)?;
        let make = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=tokens",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ];
        openssl.run(&make).ok();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let granted = Arc::<Mutex<Vec<String>>>::default();
        let (directory, list) = (sandbox.project(), Arc::clone(&granted));
        let server = Self {
            realm: format!("http://{address}/token"),
            directory: directory.clone(),
            granted,
        };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that goes away has what it wanted.
                let _gone = answer(client, &directory, &list);
            }
        });
        Some(server)
    }

    /// What docker-registry's configuration says about it.
    pub(super) fn configuration(&self) -> String {
        format!(
            "auth:\n  token:\n    realm: {}\n    service: {SERVICE}\n    issuer: tokens\n    rootcertbundle: {}\n",
            self.realm,
            self.directory.join("cert.pem").display()
        )
    }

    /// Which tokens were given since this was last asked: `ann: repository:a:pull repository:b:pull`.
    pub(super) fn granted(&self) -> Vec<String> {
        std::mem::take(&mut self.granted.lock().expect("no thread panicked"))
    }
}

fn answer(client: TcpStream, directory: &Path, granted: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut authorization = None;
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.to_owned());
            }
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let password = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let user = match authorization {
        None => "",
        Some(given) if given == password => USER,
        Some(_) => return reply(client, "401 Unauthorized", r#"{"details":"wrong password"}"#),
    };
    let target = first.split(' ').nth(1).unwrap_or_default();
    let query = target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let scopes: Vec<String> = pairs
        .filter(|(key, _)| *key == "scope")
        .map(|(_, value)| value.replace("%3A", ":").replace("%2C", ",").replace("%2F", "/"))
        .collect();
    let access: Vec<Value> = scopes.iter().filter_map(|scope| grant(user, scope)).collect();
    let who = if user.is_empty() { "nobody" } else { user };
    let line = format!("{who}: {}", scopes.join(" "));
    granted.lock().expect("no thread panicked").push(line);
    let token = sign(directory, user, &access);
    reply(
        client,
        "200 OK",
        &json!({ "token": token, "expires_in": 300 }).to_string(),
    )
}

fn reply(mut client: TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// What of a scope a user gets.
fn grant(user: &str, scope: &str) -> Option<Value> {
    let (resource, actions) = scope.rsplit_once(':')?;
    let (kind, name) = resource.split_once(':')?;
    let may = |action: &&str| !user.is_empty() || (name.starts_with("public/") && *action == "pull");
    let actions: Vec<&str> = actions.split(',').filter(may).collect();
    Some(json!({ "type": kind, "name": name, "actions": actions }))
}

/// A JSON web token (RFC 7519), with the certificate that docker-registry was told to trust.
fn sign(directory: &Path, user: &str, access: &[Value]) -> String {
    let pem = std::fs::read_to_string(directory.join("cert.pem")).expect("a certificate");
    let certificate: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [certificate] });
    let claims = json!({
        "iss": "tokens", "sub": user, "aud": SERVICE, "jti": "1", "iat": 0, "nbf": 0, "exp": 4_000_000_000_u32,
        "access": access,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign", "key.pem"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl can be started");
    let mut stdin = openssl.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("openssl reads");
    drop(stdin);
    let signature = openssl.wait_with_output().expect("openssl ends").stdout;
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}
