//! An HTTP proxy for TLS: whatever name a client wants to reach, it reaches one server on this machine.
//!
//! No name is ever resolved.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

/// The proxy. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Tunnel {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    /// Leads to `upstream`, such as `127.0.0.1:5000`.
    pub(crate) fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port has an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (upstream, names) = (upstream.to_owned(), Arc::clone(&asked));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, names) = (upstream.clone(), Arc::clone(&names));
                // A connection that breaks off is the client's to report.
                thread::spawn(move || pass(client, &upstream, &names).ok());
            }
        });
        Self {
            address: address.to_string(),
            asked,
        }
    }

    /// Lets a command go through it, whatever host it wants.
    pub(crate) fn lead(&self, command: &mut Command) {
        command.env("HTTPS_PROXY", format!("http://{}", self.address));
    }

    /// What was asked for so far, such as `registry.example.org:443`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panicked").clone()
    }
}

/// Serves one `CONNECT` (RFC 9110, section 9.3.6).
fn pass(mut client: TcpStream, upstream: &str, names: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let Some(name) = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next())
    else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\n\r\n");
    };
    names.lock().expect("no thread panicked").push(name.to_owned());
    let server = TcpStream::connect(upstream)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let forth = thread::spawn(move || copy(from, to));
    copy(server, client)?;
    forth.join().expect("copying does not panic")
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    // The other side may have closed it already.
    let _closed = to.shutdown(Shutdown::Write);
    copied.map(drop)
}
