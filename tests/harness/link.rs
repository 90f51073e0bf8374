//! A bad link between the program and a server: slow, lossy, and cut off every now and then.
//!
//! It copies bytes and understands none of them. Its pauses are what it is: no test waits for anything by them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are passed on at once.
const CHUNK: usize = 16 << 10;
/// How long a lost packet holds up what comes after it.
const RESENT: Duration = Duration::from_millis(10);

/// How bad it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Bytes of one second, of all connections and both directions together.
    pub(crate) rate: u64,
    /// One in so many chunks is lost, and sent again.
    pub(crate) loss: u64,
    /// After so many bytes the connection that has the last of them is cut off.
    pub(crate) cut: u64,
}

/// The link. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Link {
    host: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    weather: Weather,
    passed: AtomicU64,
    cuts: AtomicUsize,
    /// When the line is free again.
    free: Mutex<Instant>,
}

impl Link {
    /// Leads from a free port of the loopback interface to `upstream`.
    pub(crate) fn start(upstream: &str, weather: Weather) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("it is bound").to_string();
        let shared = Arc::new(Shared {
            weather,
            passed: AtomicU64::new(0),
            cuts: AtomicUsize::new(0),
            free: Mutex::new(Instant::now()),
        });
        let (upstream, kept) = (upstream.to_owned(), Arc::clone(&shared));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A connection that breaks is what this is about.
                let _broken = join(&client, &upstream, &kept);
            }
        });
        Self { host, shared }
    }

    /// A repository behind the link.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// How many connections were cut off, and how many bytes went through.
    pub(crate) fn toll(&self) -> (usize, u64) {
        let shared = &self.shared;
        (
            shared.cuts.load(Ordering::SeqCst),
            shared.passed.load(Ordering::SeqCst),
        )
    }
}

fn join(client: &TcpStream, upstream: &str, shared: &Arc<Shared>) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    for (from, to) in [(client, &server), (&server, client)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            if pass(&mut from, &mut to, &shared).is_err() {
                // Both sides find out, each in the middle of something.
                let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            } else {
                let _gone = to.shutdown(Shutdown::Write);
            }
        });
    }
    Ok(())
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        shared.wait(length as u64);
        if shared.is_cut(length as u64) {
            // A half of it still goes through.
            to.write_all(&chunk[..length / 2])?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        to.write_all(&chunk[..length])?;
    }
}

impl Shared {
    /// Takes the line for as long as so many bytes need it.
    fn wait(&self, length: u64) {
        let mut needed = Duration::from_nanos(length * 1_000_000_000 / self.weather.rate);
        if (self.passed.load(Ordering::SeqCst) / CHUNK as u64).is_multiple_of(self.weather.loss) {
            needed += RESENT;
        }
        let until = {
            let mut free = self.free.lock().expect("no thread panicked");
            *free = (*free).max(Instant::now()) + needed;
            *free
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    /// Whether these bytes are those at which a connection is cut off.
    fn is_cut(&self, length: u64) -> bool {
        let before = self.passed.fetch_add(length, Ordering::SeqCst);
        let is_cut = before / self.weather.cut != (before + length) / self.weather.cut;
        self.cuts.fetch_add(usize::from(is_cut), Ordering::SeqCst);
        is_cut
    }
}
