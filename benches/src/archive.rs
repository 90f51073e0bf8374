//! A mirror of Debian on the loopback interface, for all who are measured: each file is fetched once from where this machine has its
//! packages, is kept, and then comes from the disk.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use crate::{Result, measure};

/// Fetches a file as apt does, with its settings.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// The mirror. It ends with this process.
pub struct Archive {
    /// Its root, for sources of apt and for `CAIRN_DEBIAN_MIRROR`.
    pub url: String,
    /// The release that this machine is, such as `bookworm`.
    pub suite: String,
}

impl Archive {
    /// Serves what `directory` keeps, and keeps there what it lacks. An error says why there is none here.
    pub fn serve(directory: &Path) -> Result<Self> {
        let release =
            fs::read_to_string("/etc/os-release").map_err(|error| format!("no os-release: {error}"))?;
        let suite = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .ok_or("this machine is no Debian")?
            .to_owned();
        let upstream = upstream(&suite)?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
        let address = listener
            .local_addr()
            .map_err(|error| format!("no address: {error}"))?;
        let place = Arc::new((upstream, directory.to_owned()));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let place = Arc::clone(&place);
                // A client that goes away is no fault of the others.
                thread::spawn(move || answer(client, &place.0, &place.1).ok());
            }
        });
        Ok(Self {
            url: format!("http://{address}"),
            suite,
        })
    }
}

/// The root of the mirror from which this machine has the main part of `suite`.
fn upstream(suite: &str) -> Result<String> {
    if let Some(mirror) = std::env::var_os("CAIRN_DEBIAN_MIRROR") {
        return Ok(mirror.to_string_lossy().trim_end_matches('/').to_owned());
    }
    let format = "$(RELEASE) $(COMPONENT) $(SITE)";
    let targets = measure::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))?;
    let wanted = format!("{suite} main ");
    let found = targets.lines().find_map(|line| line.strip_prefix(&wanted));
    found
        .map(|url| url.trim_end_matches('/').to_owned())
        .ok_or_else(|| format!("this machine has no source of {suite}"))
}

/// Answers one request after the other, as apt sends them.
fn answer(client: TcpStream, upstream: &str, directory: &Path) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let mut client = client;
    while let Some(line) = lines.next() {
        let line = line?;
        let Some(path) = line.split(' ').nth(1).and_then(|path| path.strip_prefix('/')) else {
            return Ok(());
        };
        for header in lines.by_ref() {
            if header?.is_empty() {
                break;
            }
        }
        match file(path, upstream, directory).and_then(|path| fs::read(path).ok()) {
            Some(content) => {
                write!(
                    client,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    content.len()
                )?;
                client.write_all(&content)?;
            }
            None => client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        }
    }
    Ok(())
}

/// Where a file of the mirror is kept; none if the mirror has none. Signed files are fetched once too, so all see the same state.
fn file(path: &str, upstream: &str, directory: &Path) -> Option<PathBuf> {
    let plain = path
        .replace("%2b", "+")
        .replace("%2B", "+")
        .replace("%7e", "~")
        .replace("%7E", "~")
        .replace("%3a", ":")
        .replace("%3A", ":");
    let relative = Path::new(&plain);
    if !relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        return None;
    }
    let (kept, absent) = (
        directory.join(relative),
        directory.join(format!("{plain}.absent")),
    );
    if kept.is_file() {
        return Some(kept);
    }
    if absent.is_file() {
        return None;
    }
    fs::create_dir_all(kept.parent()?).ok()?;
    // Two may ask at once; each fetches to a file of its own.
    let part = directory.join(format!("{plain}.{:?}.part", thread::current().id()));
    let fetched = Command::new(HELPER)
        .arg("download-file")
        .arg(format!("{upstream}/{path}"))
        .arg(&part)
        .output()
        .ok()?;
    if !fetched.status.success() {
        fs::write(absent, "").ok()?;
        return None;
    }
    fs::rename(part, &kept).ok()?;
    Some(kept)
}
