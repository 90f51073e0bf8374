//! Certificates and proxies, where docker, podman and everything else keep them.
//!
//! For a registry `HOST[:PORT]` the first of these directories counts that is there:
//! `$XDG_CONFIG_HOME/containers/certs.d/HOST`, `/etc/containers/certs.d/HOST`, `/etc/docker/certs.d/HOST`. In it, every
//! `*.crt` has authorities that are trusted for this host, and a `NAME.cert` with its `NAME.key` is our certificate.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use cairn_registry::client::{Certificates, CertificatesError, HostTls, Pem, Proxies};

use crate::args::Global;
use crate::environment::Environment;

/// Longest file with certificates or a key, in bytes (1 MiB).
const LIMIT: u64 = 1 << 20;
/// Most files of one directory.
const FILES: usize = 100;

/// Certificates in files.
#[derive(Debug)]
pub struct CertificateFiles {
    /// Has authorities that are trusted everywhere.
    authorities: Option<PathBuf>,
    /// The file was named on the command line: then TLS is meant, even to this machine.
    always: bool,
    /// Each has a directory for each host.
    directories: Vec<PathBuf>,
}

impl CertificateFiles {
    /// Those of this run: `--ca`, `CAIRN_CA`, and the directories.
    #[must_use]
    pub fn new(global: &Global, environment: &Environment) -> Self {
        let named = global.ca.clone();
        let own = environment.path("XDG_CONFIG_HOME");
        let own = own.or_else(|| Some(environment.path("HOME")?.join(".config")));
        let own = own.map(|config| environment.absolute(&config).join("containers/certs.d"));
        let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        Self {
            always: named.is_some(),
            authorities: named
                .or_else(|| environment.path("CAIRN_CA"))
                .map(|path| environment.absolute(&path)),
            directories: own.into_iter().chain(system).collect(),
        }
    }
}

impl Certificates for CertificateFiles {
    fn find(&self, host: &str) -> Result<HostTls, CertificatesError> {
        let mut tls = HostTls {
            always: self.always,
            ..HostTls::default()
        };
        if let Some(path) = &self.authorities {
            tls.authorities.push(read(path)?);
        }
        for directory in &self.directories {
            if let Some(files) = list(&directory.join(host))? {
                tls.always = true;
                add(&mut tls, &files)?;
                break;
            }
        }
        Ok(tls)
    }
}

/// The files of a directory, sorted. `None`: it is not there.
fn list(directory: &Path) -> Result<Option<Vec<PathBuf>>, CertificatesError> {
    #[expect(clippy::disallowed_methods, reason = "sorted below")]
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(directory, &error)),
    };
    let mut files = Vec::new();
    for entry in entries.take(FILES) {
        files.push(entry.map_err(|error| unreadable(directory, &error))?.path());
    }
    files.sort();
    Ok(Some(files))
}

fn add(tls: &mut HostTls, files: &[PathBuf]) -> Result<(), CertificatesError> {
    for path in files {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.authorities.push(read(path)?),
            Some("cert") if tls.identity.is_none() => tls.identity = Some(identity(path)?),
            _ => {}
        }
    }
    Ok(())
}

/// The certificate at `path`, with the key beside it.
fn identity(path: &Path) -> Result<Pem, CertificatesError> {
    let (certificate, key) = (read(path)?, read(&path.with_extension("key"))?);
    let mut name = certificate.name;
    // Writing to a string cannot fail.
    let _infallible = write!(name, " and {}", key.name);
    let bytes = [certificate.bytes, b"\n".to_vec(), key.bytes].concat();
    Ok(Pem { name, bytes })
}

fn read(path: &Path) -> Result<Pem, CertificatesError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let read = file.take(LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > LIMIT {
        return Err(wrong(path, format!("longer than {LIMIT} bytes")));
    }
    Ok(Pem {
        name: path.display().to_string(),
        bytes,
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> CertificatesError {
    wrong(path, format!("cannot be read: {error}"))
}

fn wrong(path: &Path, problem: String) -> CertificatesError {
    CertificatesError {
        name: path.display().to_string(),
        problem,
    }
}

/// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, each in small letters too, which count first.
#[must_use]
pub fn proxies(environment: &Environment) -> Proxies {
    let variable = |name: &str| {
        let small = name.to_ascii_lowercase();
        let found = environment.text(&small).or_else(|| environment.text(name));
        found.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let all = variable("ALL_PROXY");
    Proxies {
        http: variable("HTTP_PROXY").or_else(|| all.clone()),
        https: variable("HTTPS_PROXY").or(all),
        except: variable("NO_PROXY").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn files(directory: &Path, arguments: &[&str], more: &[(&str, &str)]) -> CertificateFiles {
        let config = directory.to_str().unwrap();
        let variables: Vec<_> = [("XDG_CONFIG_HOME", config)]
            .iter()
            .chain(more)
            .copied()
            .collect();
        let arguments = ["cairn"].iter().chain(arguments).chain(&["tags"]);
        let cli = Cli::try_parse_from(arguments).unwrap();
        CertificateFiles::new(&cli.global, &Environment::of(&variables))
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own directory")]
    fn place(files: &[&str]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let host = place.path().join("containers/certs.d/registry.example.org:5000");
        std::fs::create_dir_all(&host).unwrap();
        for name in files {
            std::fs::write(host.join(name), name).unwrap();
        }
        std::fs::write(place.path().join("own.pem"), "own").unwrap();
        place
    }

    #[test]
    fn h4_certificates_are_for_exactly_their_host() {
        let place = place(&["b.crt", "a.crt", "client.cert", "client.key", "notes.txt"]);
        let files = files(place.path(), &[], &[]);
        let tls = files.find("registry.example.org:5000").unwrap();
        let authorities: Vec<_> = tls.authorities.iter().map(|pem| pem.bytes.as_slice()).collect();
        assert_eq!(authorities, [b"a.crt", b"b.crt"]);
        assert_eq!(tls.identity.unwrap().bytes, b"client.cert\nclient.key");
        assert!(tls.always);
        for other in [
            "registry.example.org",
            "example.org:5000",
            "registry.example.org:5001",
        ] {
            assert_eq!(files.find(other).unwrap(), HostTls::default(), "{other}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_an_error_that_names_the_key() {
        let place = place(&["client.cert"]);
        let error = files(place.path(), &[], &[])
            .find("registry.example.org:5000")
            .unwrap_err();
        assert!(error.name.ends_with("client.key"), "{error}");
    }

    #[test]
    fn ca_files_count_everywhere() {
        let place = place(&["a.crt"]);
        let own = place.path().join("own.pem");
        let own = own.to_str().unwrap();
        let named = files(place.path(), &["--ca", own], &[("CAIRN_CA", "/not/there")]);
        let tls = named.find("localhost:5000").unwrap();
        assert!(tls.always && tls.authorities[0].bytes == b"own");
        assert_eq!(
            named.find("registry.example.org:5000").unwrap().authorities.len(),
            2
        );
        // The variable is for all registries, and says nothing about those of this machine.
        let set = files(place.path(), &[], &[("CAIRN_CA", own)]);
        let tls = set.find("localhost:5000").unwrap();
        assert!(!tls.always && tls.authorities.len() == 1);
        let missing = files(place.path(), &[], &[("CAIRN_CA", "/not/there")]);
        assert_eq!(missing.find("a.example.org").unwrap_err().name, "/not/there");
    }

    #[test]
    fn proxies_come_from_the_usual_variables() {
        let found = proxies(&Environment::of(&[
            ("https_proxy", "http://small"),
            ("HTTPS_PROXY", "http://LARGE"),
            ("ALL_PROXY", "http://all"),
            ("NO_PROXY", "localhost,.example.org"),
        ]));
        let expected = Proxies {
            http: Some("http://all".to_owned()),
            https: Some("http://small".to_owned()),
            except: "localhost,.example.org".to_owned(),
        };
        assert_eq!(found, expected);
        assert_eq!(
            proxies(&Environment::of(&[("HTTP_PROXY", "")])),
            Proxies::default()
        );
    }
}
