//! Stands between the program and a server, counts the requests, and stops at one of them.
//!
//! Each request gets a connection of its own (`connection: close` is added), so that one connection is one request and
//! nothing of its body need be understood.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::process::{LIMIT, spawn};
use super::{Output, wait};

/// Where a request is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never hears of it.
    Before,
    /// The server has done it, and the client never hears so.
    After,
}

/// The proxy. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Proxy {
    host: String,
    plan: Arc<Shared>,
}

/// One request, and how much went through for it. Heads are counted too.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// Its first line.
    pub(crate) line: String,
    /// Bytes of its body that the server got.
    pub(crate) sent: u64,
    /// Bytes that the client got.
    pub(crate) received: u64,
}

#[derive(Debug)]
struct Shared {
    plan: Mutex<Plan>,
    /// When a request is over.
    over: Condvar,
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no thread panicked")
    }
}

#[derive(Debug)]
struct Plan {
    upstream: String,
    requests: usize,
    /// Requests that are not noted yet.
    under_way: usize,
    exchanges: Vec<Exchange>,
    cut: Option<(usize, Cut, Sender<Event>)>,
    /// What is to happen before the request of this number is passed on.
    before: Option<(usize, Action)>,
}

/// Something that a test does between two requests.
struct Action(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Action")
    }
}

#[derive(Debug)]
enum Event {
    /// The request with this first line was stopped, until the sender is dropped.
    Stopped(String, Sender<()>),
    /// The command ended.
    Ended(Output),
}

/// A command that was run through the proxy.
#[derive(Debug)]
pub(crate) struct Interrupted {
    /// The first line of the request that it was stopped at; none if it made fewer.
    pub(crate) at: Option<String>,
    /// How it ended.
    pub(crate) output: Output,
}

impl Proxy {
    /// Forwards what comes to a free port of the loopback interface to `upstream`.
    pub(crate) fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("it is bound").to_string();
        let plan = Arc::new(Shared {
            plan: Mutex::new(Plan {
                upstream: upstream.to_owned(),
                requests: 0,
                under_way: 0,
                exchanges: Vec::new(),
                cut: None,
                before: None,
            }),
            over: Condvar::new(),
        });
        let shared = Arc::clone(&plan);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&shared);
                // A connection that breaks is what these tests are about.
                thread::spawn(move || serve(client, &plan).ok());
            }
        });
        Self { host, plan }
    }

    /// A repository behind the proxy.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// What went through since this was last asked. To be asked when no command runs: what the last one asked for may have come
    /// to it whole before it is noted here, and is waited for.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        let waited = self
            .plan
            .over
            .wait_timeout_while(self.plan.plan(), LIMIT, |plan| plan.under_way > 0);
        let (mut plan, waited) = waited.expect("no thread panicked");
        assert!(!waited.timed_out(), "{} requests are not over", plan.under_way);
        std::mem::take(&mut plan.exchanges)
    }

    /// Sends what comes from now on to another server.
    pub(crate) fn forward_to(&self, upstream: &str) {
        let mut plan = self.plan.plan();
        upstream.clone_into(&mut plan.upstream);
    }

    /// Does `action` before request number `count` (from 1, counted from now) is passed on.
    pub(crate) fn before(&self, count: usize, action: impl FnOnce() + Send + 'static) {
        self.arm(None);
        let mut plan = self.plan.plan();
        plan.before = Some((count, Action(Box::new(action))));
    }

    /// Runs `command`, and sends it `signal` when its request number `count` (from 1) is stopped.
    pub(crate) fn interrupt(
        &self,
        command: &mut Command,
        count: usize,
        cut: Cut,
        signal: Signal,
    ) -> Interrupted {
        // The connection stays open until the process has ended: closed before, it could be heard before the signal.
        let mut kept = Vec::new();
        self.run(command, count, cut, |id, connection| {
            kept.push(connection);
            let id = i32::try_from(id).ok().and_then(Pid::from_raw);
            kill_process(id.expect("a process has an id"), signal).expect("it waits for its answer");
        })
    }

    /// Runs `command`, and calls `stop` with its process when its request number `count` (from 1) is stopped. Then the
    /// connection is closed without an answer.
    pub(crate) fn stop(
        &self,
        command: &mut Command,
        count: usize,
        cut: Cut,
        mut stop: impl FnMut(u32),
    ) -> Interrupted {
        self.run(command, count, cut, |id, connection| {
            stop(id);
            drop(connection);
        })
    }

    /// Runs `command`, and calls `stop` with its process and the stopped connection, which is closed when it is dropped.
    fn run(
        &self,
        command: &mut Command,
        count: usize,
        cut: Cut,
        mut stop: impl FnMut(u32, Sender<()>),
    ) -> Interrupted {
        let (sender, events) = channel();
        self.arm(Some((count, cut, sender.clone())));
        let child = spawn(command);
        let id = child.id();
        let output = thread::scope(|scope| {
            scope.spawn(|| sender.send(Event::Ended(wait(command, child))).ok());
            ended(&events, |connection| stop(id, connection))
        });
        self.arm(None);
        output
    }

    fn arm(&self, cut: Option<(usize, Cut, Sender<Event>)>) {
        let mut plan = self.plan.plan();
        plan.requests = 0;
        plan.cut = cut;
    }
}

fn ended(events: &Receiver<Event>, mut stop: impl FnMut(Sender<()>)) -> Interrupted {
    let mut at = None;
    loop {
        match events
            .recv_timeout(LIMIT)
            .expect("the command ends or is stopped")
        {
            Event::Stopped(line, go_on) => {
                at = Some(line);
                stop(go_on);
            }
            Event::Ended(output) => return Interrupted { at, output },
        }
    }
}

/// Serves the one request of a connection.
fn serve(mut client: TcpStream, plan: &Shared) -> io::Result<()> {
    let Some((line, head)) = read_head(&mut client)? else {
        return Ok(());
    };
    let (upstream, cut) = next(plan);
    let _noted = Noted(plan);
    if let Some((Cut::Before, stopped)) = &cut {
        return hold(&client, stopped, line);
    }
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(&head)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let body = thread::spawn(move || {
        let mut sent = 0;
        // What was sent until it broke off counts.
        let _broken = copy(&mut from, &mut to, &mut sent);
        sent
    });
    let mut received = 0;
    let answered = answer(&mut server, &client, cut, line.clone(), &mut received);
    // The client must not see the end before this is noted: its command may be over then, and the test look.
    let _half = server.shutdown(Shutdown::Both);
    let sent = {
        let _no_more = client.shutdown(Shutdown::Read);
        body.join().expect("copying does not panic")
    };
    plan.plan().exchanges.push(Exchange { line, sent, received });
    // However it went: what reads the body holds both connections open, and waits for the client.
    let _closed = client.shutdown(Shutdown::Both);
    answered
}

/// However a request ends, it is over then.
struct Noted<'a>(&'a Shared);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.plan().under_way -= 1;
        self.0.over.notify_all();
    }
}

/// Like `io::copy`, counting on the way.
fn copy(from: &mut impl Read, to: &mut impl Write, count: &mut u64) -> io::Result<()> {
    let mut chunk = [0; 64 << 10];
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..length])?;
        *count += length as u64;
    }
}

fn answer(
    server: &mut TcpStream,
    mut client: &TcpStream,
    cut: Option<(Cut, Sender<Event>)>,
    line: String,
    received: &mut u64,
) -> io::Result<()> {
    if let Some((_, stopped)) = cut {
        server.read_exact(&mut [0; 1])?;
        return hold(client, &stopped, line);
    }
    copy(server, &mut client, received)
}

fn next(plan: &Shared) -> (String, Option<(Cut, Sender<Event>)>) {
    let mut plan = plan.plan();
    plan.requests += 1;
    plan.under_way += 1;
    if let Some((_, Action(action))) = {
        let requests = plan.requests;
        plan.before.take_if(|(count, _)| *count == requests)
    } {
        action();
    }
    let due = plan.cut.as_ref().filter(|(count, _, _)| *count == plan.requests);
    let cut = due.map(|(_, cut, stopped)| (*cut, stopped.clone()));
    (plan.upstream.clone(), cut)
}

/// Says that the request is stopped, waits until the test has done what it wanted then, and closes the connection.
fn hold(client: &TcpStream, stopped: &Sender<Event>, line: String) -> io::Result<()> {
    let (go_on, wait) = channel();
    let _test_is_over = stopped.send(Event::Stopped(line, go_on));
    let _dropped = wait.recv();
    client.shutdown(Shutdown::Both)
}

/// The first line, and everything up to the body with `connection: close` added, and what came of the body; none if the
/// connection was closed unused.
fn read_head(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        match client.read(&mut chunk)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    };
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    bytes.splice(end..end, *b"\r\nconnection: close");
    Ok(Some((line, bytes)))
}
