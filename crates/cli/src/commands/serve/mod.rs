//! `cairn serve`

mod config;
mod housekeeping;
mod log;
mod mirrors;
mod reload;
mod tls;
mod users;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use cairn_registry::server::{BasicAuth, Server, ServerConfig};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::collecting::DAY;
use crate::environment::Environment;
use crate::failure::{Exit, Failure};
use crate::program::Cairn;
use config::Config;
use log::{Format, Log};
use mirrors::MirrorOf;
use reload::Watched;

/// Where the server listens if nothing says otherwise.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000));

/// What `cairn serve` takes. What is said here goes before what the configuration file says.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Reads users, rules and limits from FILE (docs/registry.md)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Lets in only the users of FILE, which htpasswd -B writes
    #[arg(long, value_name = "FILE")]
    pub htpasswd: Option<PathBuf>,
    /// Speaks TLS with the certificate of FILE (PEM, with its chain), and reads it again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Answers /healthz, /readyz and /metrics on an address of their own, over plain HTTP and without a password
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Writes a line to stderr for each request [default: off; with -v: text]
    #[arg(long, value_name = "FORMAT")]
    pub access_log: Option<Format>,
    /// Serves the repositories of another registry below PREFIX [default: its name], and keeps what was asked for; `/` is every
    /// repository; may be repeated
    #[arg(long = "mirror", value_name = "HOST[=PREFIX]")]
    pub mirrors: Vec<MirrorOf>,
    /// Refuses to delete tags, manifests and blobs
    #[arg(long)]
    pub no_delete: bool,
}

impl Serve {
    /// Serves until SIGINT or SIGTERM, then finishes what has begun.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let file = match &self.config {
            Some(path) => {
                let path = cairn.directory().join(path);
                Config::read(&path, self.htpasswd.is_some(), &cairn.terminal)?
            }
            None => Config::default(),
        };
        let listen = self.listen.or(file.listen).unwrap_or(DEFAULT_ADDRESS);
        let files = self.certificate(cairn, &file);
        if !listen.ip().is_loopback() && files.is_none() && !cairn.global.plain_http {
            let text = format!("{listen} is not on this machine alone, and this would be plain HTTP");
            return Err(Failure::new(Exit::Input, text).with_hint(
                "--tls-cert FILE --tls-key FILE; or a proxy with TLS before a loopback address; or, in a network that you trust, --plain-http".to_owned(),
            ));
        }
        let metrics = self.metrics.or(file.metrics);
        if let Some(address) = metrics.filter(|address| !address.ip().is_loopback())
            && !cairn.global.plain_http
        {
            let text = format!("{address}, where metrics are to be had, is not on this machine alone");
            return Err(Failure::new(Exit::Input, text)
                .with_hint("a loopback address; or, in a network that you trust, --plain-http".to_owned()));
        }
        let mirrors: Vec<MirrorOf> = self.mirrors.iter().chain(&file.mirrors).cloned().collect();
        let (upload_life, schedule) = (file.upload_life.unwrap_or(DAY), file.collect);
        let failed = |error: std::io::Error| Failure::of(Exit::Environment, &error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let (mut config, mut watched) = self.server_config(cairn, file)?;
        if let Some(files) = &files {
            let (tls, certificate) = tls::read(files, &cairn.terminal)?;
            config.tls = Some(tls);
            watched.push(certificate);
        }
        let scheme = if files.is_some() { "https" } else { "http" };
        let store = cairn.store().await?.clone();
        // Whoever was ended before may have left what other tools read behind what is true.
        store.flush_all().await?;
        let served = mirrors::over(cairn, Arc::new(store.clone()), &mirrors).await?;
        let server = Server::new(served, config);
        let counted = server.metrics();
        housekeeping::expire_uploads(cairn, &store, upload_life, &counted).await?;
        let operation = async {
            match metrics {
                Some(address) => Ok(Some(server.bind_operation(address).await?)),
                None => Ok::<_, Failure>(None),
            }
        };
        let operation = operation.await?;
        let bound = server.bind(listen).await?;
        cairn
            .terminal
            .print(format!("{scheme}://{}", bound.local_addr()))?;
        let stop = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        if let Some(operation) = &operation {
            let address = operation.local_addr();
            cairn.terminal.say(format!("metrics at http://{address}/metrics"));
        }
        let operate = async {
            match operation {
                Some(operation) => match operation.serve().await {},
                None => std::future::pending::<()>().await,
            }
        };
        tokio::select! {
            served = bound.serve(stop) => Ok(served?),
            () = operate => Ok(()),
            () = housekeeping::keep_expiring(cairn, &store, upload_life, &counted) => Ok(()),
            () = housekeeping::keep_collecting(cairn, &store, schedule, &counted) => Ok(()),
            () = reload::keep_fresh(&cairn.terminal, watched, hangup) => Ok(()),
        }
    }

    fn certificate(&self, cairn: &Cairn, file: &Config) -> Option<tls::Files> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(tls::Files {
                certificate: cairn.directory().join(certificate),
                key: cairn.directory().join(key),
            }),
            _ => file.tls.clone(),
        }
    }

    fn server_config(&self, cairn: &Cairn, file: Config) -> Result<(ServerConfig, Vec<Watched>), Failure> {
        let users = self.htpasswd.as_ref().map(|path| cairn.directory().join(path));
        let defaults = ServerConfig::default();
        let verbose = cairn.terminal.verbose.then_some(Format::Text);
        let format = self
            .access_log
            .or(file.access_log)
            .or(verbose)
            .unwrap_or_default();
        let mut config = ServerConfig {
            delete: !self.no_delete && file.delete.unwrap_or(true),
            conditional_tags: file.conditional_tags.unwrap_or(defaults.conditional_tags),
            rules: file.rules,
            challenge: file.challenge.unwrap_or(defaults.challenge),
            limits: file.limits,
            log: Arc::new(Log::new(format, Environment::clock)),
            ..defaults
        };
        let mut watched = Vec::new();
        if let Some(path) = users.or(file.htpasswd) {
            let (accounts, users) = users::read(&path, cairn.environment.processors().get())?;
            watched.push(users);
            config.basic = Some(BasicAuth {
                realm: file.realm.unwrap_or_else(|| "cairn".to_owned()),
                accounts,
            });
        }
        Ok((config, watched))
    }
}
