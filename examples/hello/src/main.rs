//! A small HTTP server: it answers every GET with one line.
//!
//! It stands for somebody's application in Cairn's demo and tests, so it uses the standard library alone and
//! still behaves as a server should: what a client may send, how long it may take, and how many may be
//! connected are bounded. `PORT` and `ADDRESS` choose where it listens (0.0.0.0, port 8080); with `PORT=0` the
//! system chooses, and the first line of stdout says what it chose.

use std::env;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The body of every answer to GET.
const GREETING: &str = "Hello, World! Version 1\n";
/// Longest request line and header fields together, in bytes.
const HEAD_LIMIT: usize = 8 * 1024;
/// How much of an unwanted request body is read away, so that the answer is not lost to a reset.
const DRAIN_LIMIT: usize = 64 * 1024;
/// Connections served at once; further ones are answered with 503.
const CONNECTION_LIMIT: usize = 64;
/// How long one connection may take in all.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait when the system cannot accept connections, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the server says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Greeting { body: bool },
    BadRequest,
    MethodNotAllowed,
    TimedOut,
    HeadTooLarge,
    Overloaded,
}

/// How reading a request's head ended.
enum Head {
    Complete(Vec<u8>),
    TooLarge,
    TimedOut,
    Closed,
}

fn main() -> ExitCode {
    match listen_address().and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn listen_address() -> Result<SocketAddr, String> {
    let port = variable("PORT", 8080)?;
    let address = variable("ADDRESS", IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
    Ok(SocketAddr::new(address, port))
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> Result<T, String> {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{name} is `{text}`, which is not valid")),
        Err(env::VarError::NotPresent) => Ok(default),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}

fn serve(address: SocketAddr) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).map_err(failed)?;
    println!("http://{}", listener.local_addr().map_err(failed)?);
    // Every connection's thread holds a clone, so the count is the number of connections, plus this one.
    let connections = Arc::new(());
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => accept(stream, &connections),
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
    Ok(())
}

fn accept(mut stream: TcpStream, connections: &Arc<()>) {
    if Arc::strong_count(connections) > CONNECTION_LIMIT {
        // A few bytes to a new socket do not block; whether they arrive is the client's concern.
        let _ = stream.write_all(&Answer::Overloaded.to_bytes());
        return;
    }
    let slot = Arc::clone(connections);
    let spawned = thread::Builder::new().spawn(move || {
        let _slot = slot;
        // A client that goes away in the middle is no fault of the server's.
        let _ = converse(&mut stream);
    });
    if let Err(error) = spawned {
        eprintln!("cannot start a thread: {error}");
    }
}

fn converse(stream: &mut TcpStream) -> io::Result<()> {
    let deadline = Instant::now() + TIME_LIMIT;
    stream.set_write_timeout(Some(TIME_LIMIT))?;
    let answer = match read_head(stream, deadline)? {
        Head::Complete(head) => answer_to(&head),
        Head::TooLarge => Answer::HeadTooLarge,
        Head::TimedOut => Answer::TimedOut,
        Head::Closed => return Ok(()),
    };
    stream.write_all(&answer.to_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    drain(stream, deadline)
}

/// Reads up to the empty line that ends the head; anything behind it stays out of account.
fn read_head(stream: &mut TcpStream, deadline: Instant) -> io::Result<Head> {
    let mut buffer = vec![0; HEAD_LIMIT];
    let mut filled = 0;
    loop {
        if let Some(end) = buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            buffer.truncate(end);
            return Ok(Head::Complete(buffer));
        }
        if filled == HEAD_LIMIT {
            return Ok(Head::TooLarge);
        }
        match read_before(stream, &mut buffer[filled..], deadline)? {
            None => return Ok(Head::TimedOut),
            Some(0) => return Ok(Head::Closed),
            Some(count) => filled += count,
        }
    }
}

/// Reads what is there before `deadline`; none if that passes first.
fn read_before(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<Option<usize>> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(None);
    }
    stream.set_read_timeout(Some(left))?;
    match stream.read(buffer) {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

fn drain(stream: &mut TcpStream, deadline: Instant) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut total = 0;
    while total < DRAIN_LIMIT {
        match read_before(stream, &mut buffer, deadline)? {
            None | Some(0) => break,
            Some(count) => total += count,
        }
    }
    Ok(())
}

/// Judges a head, without the empty line at its end (RFC 9112, section 3).
fn answer_to(head: &[u8]) -> Answer {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let (Some(method), Some(target), Some(b"HTTP/1.0" | b"HTTP/1.1"), None) =
        (method, target, version, parts.next())
    else {
        return Answer::BadRequest;
    };
    let is_method = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
    let is_target = !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
    match method {
        _ if !is_method || !is_target => Answer::BadRequest,
        b"GET" => Answer::Greeting { body: true },
        b"HEAD" => Answer::Greeting { body: false },
        _ => Answer::MethodNotAllowed,
    }
}

impl Answer {
    fn status(self) -> &'static str {
        match self {
            Self::Greeting { .. } => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::TimedOut => "408 Request Timeout",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Overloaded => "503 Service Unavailable",
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let status = self.status();
        let text = match self {
            Self::Greeting { .. } => GREETING.to_owned(),
            _ => format!("{status}\n"),
        };
        let allow = match self {
            Self::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let body = match self {
            Self::Greeting { body: false } => "",
            _ => text.as_str(),
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
             {allow}Connection: close\r\n\r\n{body}",
            length = text.len(),
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_and_head_are_answered_whatever_the_target() {
        assert_eq!(
            answer_to(b"GET / HTTP/1.1\r\nHost: a"),
            Answer::Greeting { body: true }
        );
        assert_eq!(answer_to(b"GET /a?b HTTP/1.0"), Answer::Greeting { body: true });
        assert_eq!(answer_to(b"HEAD / HTTP/1.1"), Answer::Greeting { body: false });
        assert_eq!(answer_to(b"POST / HTTP/1.1"), Answer::MethodNotAllowed);
    }

    #[test]
    fn what_is_not_a_request_line_is_refused() {
        for bad in [
            "",
            "GET",
            "GET /",
            "GET  HTTP/1.1",
            "get / HTTP/1.1",
            "GET / HTTP/2.0",
            "GET / HTTP/1.1 x",
        ] {
            assert_eq!(answer_to(bad.as_bytes()), Answer::BadRequest, "{bad}");
        }
        assert_eq!(answer_to(b"GET /\x1b HTTP/1.1"), Answer::BadRequest);
    }

    #[test]
    fn head_has_the_length_of_the_body_but_not_the_body() {
        let answer = String::from_utf8(Answer::Greeting { body: false }.to_bytes()).unwrap();
        assert!(answer.contains(&format!("Content-Length: {}\r\n", GREETING.len())));
        assert!(answer.ends_with("\r\n\r\n"));
    }

    /// Sends `request` over a real connection and gives what comes back.
    fn exchange(request: &[u8]) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let server = thread::spawn(move || converse(&mut stream));
        client.write_all(request).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        server.join().unwrap().unwrap();
        answer
    }

    #[test]
    fn a_connection_gets_its_answer() {
        assert!(exchange(b"GET / HTTP/1.1\r\n\r\n").ends_with(GREETING));
        assert!(exchange(b"\r\n\r\n").starts_with("HTTP/1.1 400 "));
    }

    #[test]
    fn a_head_without_end_is_cut_off() {
        let endless = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 3 * HEAD_LIMIT]].concat();
        assert!(exchange(&endless).starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn a_client_that_says_nothing_gets_nothing() {
        assert_eq!(exchange(b"GET / HT"), "");
    }
}
