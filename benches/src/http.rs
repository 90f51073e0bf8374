//! A small HTTP/1.1 client on one kept connection: as little work as a client can have, so that the server is measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Result;

/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a server.
pub struct Connection {
    host: String,
    stream: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

/// What a server answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Where it points to.
    pub location: Option<String>,
    /// How long its body was, in bytes. The body itself is read and forgotten.
    pub length: u64,
    closes: bool,
    is_chunked: bool,
}

impl Connection {
    pub fn open(host: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(host).map_err(|error| format!("cannot connect to {host}: {error}"))?;
        let set = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        set.map_err(|error| error.to_string())?;
        Ok(Self {
            host: host.to_owned(),
            stream: BufReader::with_capacity(64 << 10, stream),
            buffer: vec![0; 256 << 10],
        })
    }

    /// Asks, and reads the answer to its end. `target` is a path, or a URL of this server.
    pub fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Result<Answer> {
        let path = target
            .strip_prefix("http://")
            .map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
        let length = match body.len() {
            0 if method != "POST" && method != "PUT" => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}{length}\r\n",
            self.host
        );
        let failed = |error: std::io::Error| format!("{method} {path}: {error}");
        let stream = self.stream.get_mut();
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .map_err(failed)?;
        let mut answer = read_head(&mut self.stream).map_err(failed)?;
        if method != "HEAD" && answer.status != 204 && answer.status != 304 {
            self.read_body(&mut answer).map_err(failed)?;
        }
        if answer.closes {
            let host = self.host.clone();
            *self = Self::open(&host)?;
        }
        Ok(answer)
    }

    fn read_body(&mut self, answer: &mut Answer) -> std::io::Result<()> {
        if !answer.is_chunked {
            return self.skip(answer.length);
        }
        answer.length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16);
            let size = size.map_err(std::io::Error::other)?;
            self.skip(size + 2)?;
            answer.length += size;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn skip(&mut self, mut left: u64) -> std::io::Result<()> {
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            match self.stream.read(&mut self.buffer[..most])? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => left -= count as u64,
            }
        }
        Ok(())
    }
}

fn read_head(stream: &mut impl BufRead) -> std::io::Result<Answer> {
    let mut answer = Answer::default();
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    answer.status = status.ok_or_else(|| std::io::Error::other(format!("no status line, but {line:?}")))?;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(answer);
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => answer.length = value.parse().map_err(std::io::Error::other)?,
            "transfer-encoding" => answer.is_chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => answer.closes = value.eq_ignore_ascii_case("close"),
            "location" => answer.location = Some(value.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_to_its_empty_line() {
        let mut text: &[u8] = b"HTTP/1.1 202 Accepted\r\nLOCATION: /v2/a?b=c\r\nContent-length: 7\r\nConnection: close\r\n\r\nrest";
        let answer = read_head(&mut text).expect("a head");
        assert_eq!((answer.status, answer.length, answer.closes), (202, 7, true));
        assert_eq!(answer.location.as_deref(), Some("/v2/a?b=c"));
        assert_eq!(text, b"rest");
        assert!(read_head(&mut &b"SSH-2.0\r\n\r\n"[..]).is_err());
    }
}
