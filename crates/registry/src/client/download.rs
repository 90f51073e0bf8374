//! Files from URLs that belong to no registry.

use std::io;

use cairn_store::ByteStream;
use futures_util::TryStreamExt;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Response, Url};

use super::answer::{content, length};
use super::host::text;
use super::origin::{self, PlainHttp};
use super::transport::{Request, Transport};
use super::{Client, ClientConfig, ClientError};
use crate::wire::error::bounded;

/// How often a download that broke off is taken up again without having got any further.
const ATTEMPTS: u32 = 3;

/// Why a URL did not give its content. The URL itself is left to whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It is no URL that may be asked for.
    #[error("it is no URL of HTTPS, or of this machine")]
    Url,
    /// HTTPS cannot be spoken.
    #[error(transparent)]
    Client(ClientError),
    /// The host cannot be reached, does not answer, or points where nobody may follow.
    #[error("{host} gives no answer")]
    NoAnswer {
        /// Which host.
        host: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host says no.
    #[error("{host} answers with HTTP status {status}")]
    Refused {
        /// Which host, after all redirects.
        host: String,
        /// Its answer.
        status: u16,
    },
    /// It has more bytes than it may.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The most that is read.
        limit: u64,
    },
    /// It broke off, and could not be taken up again where it broke off.
    #[error("it broke off after {received} bytes")]
    Broken {
        /// How many came.
        received: u64,
        /// Why.
        source: io::Error,
    },
    /// What came cannot be kept.
    #[error("it cannot be kept")]
    Output(#[source] io::Error),
}

/// Where a download goes whose content is known by its digest: what is there already need not come again.
pub trait Landing: Send {
    /// How many bytes are there.
    fn length(&self) -> u64;

    /// Adds a piece at the end.
    ///
    /// # Errors
    ///
    /// It cannot be kept; the download ends.
    fn append(&mut self, piece: &[u8]) -> io::Result<()>;

    /// Throws away what is there: the server gives it all again.
    ///
    /// # Errors
    ///
    /// It cannot be thrown away; the download ends.
    fn restart(&mut self) -> io::Result<()>;
}

/// Pieces that are given away as they come.
struct Pieces<'a> {
    output: &'a mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    length: u64,
}

impl Landing for Pieces<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.length += piece.len() as u64;
        (self.output)(piece)
    }

    fn restart(&mut self) -> io::Result<()> {
        match self.length {
            0 => Ok(()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Client {
    /// Gives what `url` gives to `output`, piece by piece, and how many bytes that were: at most `limit`.
    ///
    /// Credentials are never sent. Redirects are followed five times, to HTTPS only, or from this machine to this
    /// machine. What breaks off is taken up where it broke off, if the server says that it is still the same content;
    /// the digest is for the caller to check.
    ///
    /// # Errors
    ///
    /// [`DownloadError`]; what was given to `output` is then of no use.
    pub async fn download(
        &self,
        url: &str,
        limit: u64,
        output: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<u64, DownloadError> {
        // The option for registries does not reach here: what a spec names is fetched over TLS.
        let mut pieces = Pieces { output, length: 0 };
        self.download_by(url, limit, (PlainHttp::LoopbackOnly, false), &mut pieces)
            .await?;
        Ok(pieces.length)
    }

    /// As [`Client::download`], and over plain HTTP too: for what is verified by a signature or a digest, whatever way it came,
    /// as the files of package archives are.
    ///
    /// # Errors
    ///
    /// [`DownloadError`]; what was given to `output` is then of no use.
    pub async fn download_verified(
        &self,
        url: &str,
        limit: u64,
        output: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<u64, DownloadError> {
        let mut pieces = Pieces { output, length: 0 };
        self.download_by(url, limit, (PlainHttp::Allow, false), &mut pieces)
            .await?;
        Ok(pieces.length)
    }

    /// Gets the rest of what `landing` has a part of, as [`Client::download`] does, or with [`PlainHttp::Allow`] as
    /// [`Client::download_verified`]. Its content is known by a digest, so that no server has to say that it is still the
    /// same; the digest is for the caller to check.
    ///
    /// # Errors
    ///
    /// [`DownloadError`]; what came stays where it is, to be gone on with.
    pub async fn download_rest(
        &self,
        url: &str,
        limit: u64,
        plain_http: PlainHttp,
        landing: &mut dyn Landing,
    ) -> Result<(), DownloadError> {
        self.download_by(url, limit, (plain_http, true), landing).await
    }

    async fn download_by(
        &self,
        url: &str,
        limit: u64,
        (plain_http, is_known): (PlainHttp, bool),
        landing: &mut dyn Landing,
    ) -> Result<(), DownloadError> {
        let url = Url::parse(url).map_err(|_| DownloadError::Url)?;
        let config = ClientConfig {
            plain_http,
            ..(*self.config).clone()
        };
        let is_plain =
            url.scheme() == "http" && (plain_http == PlainHttp::Allow || origin::is_loopback(&url));
        let is_allowed = url.scheme() == "https" || is_plain;
        if !is_allowed || !url.username().is_empty() || url.password().is_some() {
            return Err(DownloadError::Url);
        }
        let transport = Transport::new(config.into(), &url);
        let transport = transport.map_err(|error| DownloadError::Client(error.into()))?;
        let mut download = Download {
            url,
            transport,
            limit,
            is_known,
            landing,
        };
        download.run().await
    }
}

/// A download under way.
struct Download<'a> {
    url: Url,
    transport: Transport,
    limit: u64,
    /// Whether the content is known by a digest: parts of different answers then fit together, or nothing is used.
    is_known: bool,
    landing: &'a mut dyn Landing,
}

impl Download<'_> {
    async fn run(&mut self) -> Result<(), DownloadError> {
        let (first, validator) = self.first().await?;
        let mut broken = self.take(first).await?;
        let mut attempts = ATTEMPTS;
        while let Some(source) = broken {
            let received = self.landing.length();
            let may_go_on = attempts > 0 && (self.is_known || validator.is_some());
            let again = match may_go_on {
                true => self.rest(validator.as_deref()).await?,
                false => None,
            };
            let Some(rest) = again else {
                return Err(DownloadError::Broken { received, source });
            };
            broken = self.take(rest).await?;
            let got_further = self.landing.length() > received;
            attempts = if got_further { ATTEMPTS } else { attempts - 1 };
        }
        Ok(())
    }

    /// What the first answer gives: the rest of what is there, or everything. And what tells whether it is the same later.
    async fn first(&mut self) -> Result<(ByteStream, Option<String>), DownloadError> {
        if self.landing.length() > 0
            && let Some(rest) = self.rest(None).await?
        {
            return Ok((rest, None));
        }
        self.landing.restart().map_err(DownloadError::Output)?;
        let answer = self.ask(&Request::new(Method::GET, self.url.clone())).await?;
        if answer.status() != StatusCode::OK {
            return Err(refused(&answer));
        }
        let limit = self.limit;
        if length(&answer).is_some_and(|length| length > limit) {
            return Err(DownloadError::TooLarge { limit });
        }
        let validator = validator(answer.headers());
        Ok((content(answer), validator))
    }

    async fn ask(&mut self, request: &Request) -> Result<Response, DownloadError> {
        // As it is stored, and not compressed for the way.
        let request = request
            .clone()
            .with(ACCEPT, "*/*")
            .with(ACCEPT_ENCODING, "identity");
        let answer = self.transport.send(&request, None).await;
        answer.map_err(|error| DownloadError::NoAnswer {
            host: host(&self.url),
            source: error.into(),
        })
    }

    /// What is missing, if the server gives the rest alone, and of the same content where `validator` can tell. Of what is known by
    /// its digest it may also give everything again.
    async fn rest(&mut self, validator: Option<&str>) -> Result<Option<ByteStream>, DownloadError> {
        let there = self.landing.length();
        let mut request = Request::new(Method::GET, self.url.clone()).with(RANGE, &format!("bytes={there}-"));
        if let Some(validator) = validator {
            request = request.with(IF_RANGE, validator);
        }
        let answer = self.ask(&request).await?;
        let begins = format!("bytes {there}-");
        let fits = text(answer.headers(), &CONTENT_RANGE).is_some_and(|range| range.starts_with(&begins));
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if fits => Ok(Some(content(answer))),
            StatusCode::OK if self.is_known => {
                self.landing.restart().map_err(DownloadError::Output)?;
                Ok(Some(content(answer)))
            }
            // There may be nothing more (416), or something else; whoever begins anew finds out.
            _ => Ok(None),
        }
    }

    /// Gives away what comes; why it broke off, if it did.
    async fn take(&mut self, mut content: ByteStream) -> Result<Option<io::Error>, DownloadError> {
        loop {
            let piece = match content.try_next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(None),
                Err(source) => return Ok(Some(source)),
            };
            if self.landing.length() + piece.len() as u64 > self.limit {
                return Err(DownloadError::TooLarge { limit: self.limit });
            }
            self.landing.append(&piece).map_err(DownloadError::Output)?;
        }
    }
}

/// What tells the same content from another: an `ETag` that is not weak (RFC 9110, section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, &ETAG)?;
    (!tag.starts_with("W/")).then(|| tag.to_owned())
}

fn refused(answer: &Response) -> DownloadError {
    DownloadError::Refused {
        host: host(answer.url()),
        status: answer.status().as_u16(),
    }
}

fn host(url: &Url) -> String {
    bounded(url.host_str().unwrap_or_default())
}
