//! A web server with a few pages, some of which mean harm.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a path gives.
#[derive(Debug, Clone)]
pub(crate) enum Page {
    /// This content.
    Content(Vec<u8>),
    /// A redirect to this URL.
    Redirect(String),
    /// This content, of which the first answer has only half, and later ones what is asked for.
    Interrupted(Vec<u8>),
    /// Half of this content, always.
    Truncated(Vec<u8>),
    /// Zeros without end.
    Endless,
}

/// The server. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Web {
    host: String,
    pages: Arc<Mutex<BTreeMap<String, Page>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// What requests said beside their first line, in small letters.
    headers: Arc<Mutex<Vec<String>>>,
}

impl Web {
    /// Serves `pages` at a free port of the loopback interface; other paths are 404.
    pub(crate) fn start<P: Into<String>>(pages: impl IntoIterator<Item = (P, Page)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("it is bound").to_string();
        let pages = pages.into_iter().map(|(path, page)| (path.into(), page));
        let web = Self {
            host,
            pages: Arc::new(Mutex::new(pages.collect())),
            asked: Arc::default(),
            headers: Arc::default(),
        };
        let (pages, asked, headers) = (web.pages.clone(), web.asked.clone(), web.headers.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (pages, asked, headers) = (pages.clone(), asked.clone(), headers.clone());
                // A client that goes away is what some of these pages are about.
                thread::spawn(move || answer(client, &pages, (&asked, &headers)).ok());
            }
        });
        web
    }

    /// Serves these pages from now on, and no others.
    pub(crate) fn serve<P: Into<String>>(&self, pages: impl IntoIterator<Item = (P, Page)>) {
        let pages = pages.into_iter().map(|(path, page)| (path.into(), page));
        *self.pages.lock().expect("no thread panicked") = pages.collect();
    }

    /// What all requests said beside their first line, in small letters.
    pub(crate) fn headers(&self) -> Vec<String> {
        self.headers.lock().expect("no thread panicked").clone()
    }

    /// Its address, without the scheme.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The URL of a path, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    /// The paths that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panicked").clone()
    }
}

type Heard<'h> = (&'h Mutex<Vec<String>>, &'h Mutex<Vec<String>>);

fn answer(
    client: TcpStream,
    pages: &Mutex<BTreeMap<String, Page>>,
    (asked, headers): Heard<'_>,
) -> io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        headers.lock().expect("no thread panicked").push(line.clone());
        let range = line.strip_prefix("range: bytes=");
        from = range
            .and_then(|range| range.trim_end_matches('-').parse().ok())
            .or(from);
    }
    asked.lock().expect("no thread panicked").push(path.clone());
    let mut out = client;
    let page = pages.lock().expect("no thread panicked").get(&path).cloned();
    let head = |status: &str, headers: &str| {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n").into_bytes()
    };
    match (page, from) {
        (None, _) => out.write_all(&head("404 Not Found", "content-length: 0\r\n")),
        (Some(Page::Redirect(to)), _) => out.write_all(&head(
            "302 Found",
            &format!("location: {to}\r\ncontent-length: 0\r\n"),
        )),
        (Some(Page::Content(content)), _) => {
            out.write_all(&head("200 OK", &format!("content-length: {}\r\n", content.len())))?;
            out.write_all(&content)
        }
        (Some(Page::Truncated(content)), _) => {
            out.write_all(&head("200 OK", &format!("content-length: {}\r\n", content.len())))?;
            out.write_all(&content[..content.len() / 2])
        }
        (Some(Page::Interrupted(content)), None) => {
            let headers = format!("content-length: {}\r\netag: \"1\"\r\n", content.len());
            out.write_all(&head("200 OK", &headers))?;
            out.write_all(&content[..content.len() / 2])
        }
        (Some(Page::Interrupted(content)), Some(from)) => {
            let (from, length): (usize, usize) = (from, content.len());
            let headers = format!(
                "content-length: {}\r\ncontent-range: bytes {from}-{}/{length}\r\netag: \"1\"\r\n",
                length - from,
                length - 1
            );
            out.write_all(&head("206 Partial Content", &headers))?;
            out.write_all(&content[from..])
        }
        (Some(Page::Endless), _) => {
            out.write_all(&head("200 OK", ""))?;
            loop {
                out.write_all(&[0; 1 << 16])?;
            }
        }
    }
}
