//! A registry that wants tokens, and its token server: as much of both as a client shows.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The one user's name.
pub(crate) const USER: &str = "ann";
/// The one user's password, which must not be seen anywhere.
pub(crate) const PASSWORD: &str = "pass-sentinel";

/// A registry that knows one user, and has one repository with one tag. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Guard {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Guard {
    /// A registry that wants tokens of its own token server.
    pub(crate) fn with_tokens() -> Self {
        Self::start("/token")
    }

    /// A registry that wants the password itself.
    pub(crate) fn with_password() -> Self {
        Self::start("")
    }

    fn start(realm: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("it is bound").to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&asked);
        let own = host.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (heard, own) = (Arc::clone(&heard), own.clone());
                // A client that goes away has what it wanted.
                thread::spawn(move || answer(client, &own, realm, &heard).ok());
            }
        });
        Self { host, asked }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// A repository: `127.0.0.1:PORT/name`.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// What was asked for, and as whom: `GET /v2/ nobody`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panicked").clone()
    }
}

fn answer(client: TcpStream, host: &str, realm: &str, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut authorization = String::new();
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                value.clone_into(&mut authorization);
            }
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let password = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let who = match authorization.as_str() {
        "" => "nobody",
        "Bearer token-sentinel" => "token",
        given if given == password => "password",
        _ => "stranger",
    };
    let line = first.trim_end_matches(" HTTP/1.1");
    asked
        .lock()
        .expect("no thread panicked")
        .push(format!("{line} {who}"));
    let path = target.split('?').next().unwrap_or_default();
    let wanted = if realm.is_empty() { "password" } else { "token" };
    let challenge = match realm {
        "" => "Basic realm=\"test\"".to_owned(),
        realm => format!("Bearer realm=\"http://{host}{realm}\",service=\"test\""),
    };
    let (status, body) = match (path, who) {
        ("/token", "password") => ("200 OK", r#"{"token":"token-sentinel"}"#),
        ("/token", _) => (
            "401 Unauthorized",
            r#"{"details":"incorrect username or password"}"#,
        ),
        (_, who) if who != wanted => ("401 Unauthorized", ""),
        ("/v2/", _) => ("200 OK", "{}"),
        ("/v2/team/hello/tags/list", _) => ("200 OK", r#"{"name":"team/hello","tags":["1.0.0"]}"#),
        _ => ("404 Not Found", ""),
    };
    let mut out = client;
    write!(
        out,
        "HTTP/1.1 {status}\r\nconnection: close\r\nwww-authenticate: {challenge}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
