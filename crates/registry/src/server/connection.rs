//! Connections: accepting them within limits, and ending them in time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use super::{Shared, dispatch};

/// After a failed accept (out of file descriptors, mostly) the server waits before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first byte of a TLS record with a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Accepts connections until `shutdown`, then lets those that are busy finish.
pub(super) async fn accept(shared: &Arc<Shared>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(shared.config.limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => {
                shared.stopping.store(true, Ordering::Relaxed);
                break;
            }
            Some(_) = connections.join_next() => {}
            // Not a pattern: one that fails would switch this branch off, and with it the server.
            accepted = next(&slots, &listener) => {
                let Some((stream, peer, slot)) = accepted else { continue };
                let (shared, watcher) = (Arc::clone(shared), graceful.watcher());
                connections.spawn(async move {
                    let _counted = shared.metrics.connections.enter();
                    begin(&shared, stream, peer, watcher).await;
                    drop(slot);
                });
            }
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(shared.config.limits.drain, graceful.shutdown()).await;
    if drained.is_err() {
        connections.shutdown().await;
    }
}

/// Serves a connection to its end, after its TLS handshake where there is one.
async fn begin(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
    let Some(tls) = &shared.config.tls else {
        return serve(shared, stream, peer, watcher).await;
    };
    let acceptor = tls.acceptor();
    let handshake = async {
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? > 0 && first[0] != HANDSHAKE {
            refuse_plain(stream).await;
            return None;
        }
        acceptor.accept(stream).await.ok()
    };
    // A handshake that fails or takes too long is the client's affair.
    if let Ok(Some(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        serve(shared, stream, peer, watcher).await;
    }
}

/// Says what is wrong to somebody who speaks plain HTTP to a server with TLS.
async fn refuse_plain(mut stream: TcpStream) {
    let text = "this server speaks HTTPS\n";
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        // What was sent must be read, or the answer may be lost in a reset.
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest).await, Ok(length) if length > 0) {}
    }
}

async fn serve<S>(shared: &Arc<Shared>, stream: S, peer: SocketAddr, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1(shared).serve_connection(
        TokioIo::new(Guarded::new(stream, shared.config.limits.body_timeout)),
        dispatch::Service::new(Arc::clone(shared), peer),
    );
    // A connection that breaks is the client's affair: every request was answered or failed.
    drop(watcher.watch(connection).await);
}

/// The next connection, as soon as there is room for it. `None`: try again.
pub(super) async fn next(
    slots: &Arc<Semaphore>,
    listener: &TcpListener,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and come at once; Nagle's algorithm would only delay them.
            drop(stream.set_nodelay(true));
            Some((stream, peer, slot))
        }
        Err(_) => {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn http1(shared: &Shared) -> http1::Builder {
    let limits = &shared.config.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header)
        .max_headers(100);
    builder
}

/// A stream whose writes fail when the other side has taken nothing for some time.
///
/// Heads that come too slowly are hyper's affair, bodies that do are [`super::body`]'s.
struct Guarded<S> {
    stream: S,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    const fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            stalled: None,
        }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = Instant::now() + self.limit;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
