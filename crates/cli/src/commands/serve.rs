//! `cairn serve`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cairn_registry::server::{AccessLog, AccessRecord, Server, ServerConfig};
use cairn_store::{Directory, Page, Store};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::escape::escape;
use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// How long an upload waits for whoever began it.
const UPLOAD_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How often abandoned uploads are looked for.
const EXPIRY_PAUSE: Duration = Duration::from_secs(3600);

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
        expire_uploads(cairn, &store).await?;
        let mut config = ServerConfig {
            delete: !self.no_delete,
            ..ServerConfig::default()
        };
        config.log = if cairn.terminal.verbose {
            Arc::new(Log)
        } else {
            Arc::new(Failures)
        };
        let server = Server::new(Arc::new(store.clone()) as Arc<dyn Store>, config);
        let bound = server.bind(self.listen).await?;
        cairn.terminal.print(format!("http://{}", bound.local_addr()))?;
        let stop = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        tokio::select! {
            served = bound.serve(stop) => Ok(served?),
            failure = keep_expiring(cairn, &store) => Err(failure),
        }
    }
}

/// Removes abandoned uploads again and again; ends only when the store fails.
async fn keep_expiring(cairn: &Cairn, store: &Directory) -> Failure {
    loop {
        tokio::time::sleep(EXPIRY_PAUSE).await;
        if let Err(failure) = expire_uploads(cairn, store).await {
            return failure;
        }
    }
}

/// Removes uploads, and what interrupted writes left, that nobody has touched for [`UPLOAD_LIFE`].
async fn expire_uploads(cairn: &Cairn, store: &Directory) -> Result<(), Failure> {
    let now = u64::try_from(cairn.environment.now().as_second()).unwrap_or(0);
    let before = SystemTime::UNIX_EPOCH + Duration::from_secs(now).saturating_sub(UPLOAD_LIFE);
    let mut page = Page::first();
    loop {
        let names = store.repositories(&page).await?;
        let Some(last) = names.last() else { return Ok(()) };
        page.after = Some(last.as_str().to_owned());
        for name in &names {
            let removed = store.remove_uploads_before(name, before).await?;
            if removed > 0 {
                cairn
                    .terminal
                    .detail(format!("{name}: {removed} abandoned uploads removed"));
            }
        }
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
