//! `cairn serve`

use std::net::SocketAddr;
use std::sync::Arc;

use cairn_registry::server::{AccessLog, AccessRecord, Server, ServerConfig};
use cairn_store::Store;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::escape::escape;
use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// What `cairn serve` takes.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    pub listen: SocketAddr,
    /// Refuses to delete tags, manifests and blobs
    #[arg(long)]
    pub no_delete: bool,
}

impl Serve {
    /// Serves until SIGINT or SIGTERM, then finishes what has begun.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        if !self.listen.ip().is_loopback() && !cairn.global.plain_http {
            let text = format!(
                "{} is not on this machine alone, and cairn serve speaks plain HTTP",
                self.listen
            );
            return Err(Failure::new(Exit::Input, text).with_hint(
                "put a proxy with TLS in front of a loopback address; or, in a network that you trust, --plain-http".to_owned(),
            ));
        }
        let failed = |error: std::io::Error| Failure::of(Exit::Environment, &error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let store = cairn.store().await?.clone();
        // Whoever was ended before may have left what other tools read behind what is true.
        store.flush_all().await?;
        let mut config = ServerConfig {
            delete: !self.no_delete,
            ..ServerConfig::default()
        };
        config.log = if cairn.terminal.verbose {
            Arc::new(Log)
        } else {
            Arc::new(Failures)
        };
        let server = Server::new(Arc::new(store) as Arc<dyn Store>, config);
        let bound = server.bind(self.listen).await?;
        cairn.terminal.print(format!("http://{}", bound.local_addr()))?;
        let stop = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        Ok(bound.serve(stop).await?)
    }
}

/// One line for each request, on stderr.
#[derive(Debug)]
struct Log;

impl AccessLog for Log {
    fn request(&self, record: &AccessRecord) {
        let AccessRecord {
            method,
            path,
            status,
            received,
            sent,
        } = record;
        line(&format!(
            "{} {} {status} in={received} out={sent}",
            escape(method),
            escape(path)
        ));
    }

    fn failure(&self, error: &(dyn std::error::Error + 'static)) {
        let failure = Failure::of(Exit::Environment, error);
        line(failure.to_string().trim_end());
    }
}

/// The store's failures without the requests: what an operator must see.
#[derive(Debug)]
struct Failures;

impl AccessLog for Failures {
    fn request(&self, _: &AccessRecord) {}

    fn failure(&self, error: &(dyn std::error::Error + 'static)) {
        Log.failure(error);
    }
}

fn line(text: &str) {
    use std::io::Write;
    // A log that cannot be written must not stop the server.
    let _unheard = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
