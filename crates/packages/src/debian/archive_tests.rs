//! Archives that the tests make, good and bad.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use jiff::Timestamp;

use super::*;
use crate::debian::SignedBy;
use crate::support::{Compression, Key, Package, Repository};

const ROOT: &str = "https://mirror.example.org/debian";
/// 2026-01-01.
const BIRTH: u32 = 1_767_225_600;

struct Mirror {
    files: BTreeMap<String, Vec<u8>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Fetch for Mirror {
    async fn fetch(&self, wanted: &Wanted) -> Result<Option<Vec<u8>>, FetchError> {
        let path = wanted.url.strip_prefix(ROOT).unwrap().trim_start_matches('/');
        self.asked.lock().unwrap().push(path.to_owned());
        Ok(self.files.get(path).cloned())
    }
}

fn source() -> Source {
    Source {
        uri: ROOT.to_owned(),
        suite: "stable".to_owned(),
        components: vec!["main".to_owned()],
        architectures: Vec::new(),
        signed_by: SignedBy::default(),
    }
}

fn packages() -> Vec<Package> {
    vec![Package::new("hello", "1.0-1", "amd64").file("usr/bin/hello", "hi\n")]
}

fn summer() -> Clock {
    Clock {
        at: "2026-06-02T00:00:00Z".parse().unwrap(),
        seen: None,
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn read_with(
    files: BTreeMap<String, Vec<u8>>,
    key: &Key,
    source: &Source,
    clock: &Clock,
) -> (Result<Archive, ArchiveError>, Vec<String>) {
    let mirror = Mirror {
        files,
        asked: Mutex::default(),
    };
    let keyring = Keyring::read(&key.keyring()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let result = runtime.block_on(read_archive(
        source,
        &["amd64".to_owned()],
        &keyring,
        clock,
        &mirror,
    ));
    (result, mirror.asked.into_inner().unwrap())
}

fn read(files: BTreeMap<String, Vec<u8>>, key: &Key) -> Result<Archive, ArchiveError> {
    read_with(files, key, &source(), &summer()).0
}

fn key() -> Key {
    Key::new(1, BIRTH)
}

/// The error with all its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn refused(files: BTreeMap<String, Vec<u8>>) -> String {
    whole(&read(files, &key()).unwrap_err())
}

#[test]
fn an_archive_is_read_in_each_of_its_forms() {
    let repository = Repository::new("stable", packages());
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Xz,
        Compression::Zstd,
    ] {
        for by_hash in [true, false] {
            let form = Repository {
                by_hash,
                index_compressions: vec![compression, Compression::None],
                ..repository.clone()
            };
            for files in [form.signed(&key()), form.signed_apart(&key())] {
                let archive = read(files, &key()).unwrap();
                assert_eq!(archive.indexes.len(), 1);
                let found = archive.indexes[0].packages().unwrap();
                assert_eq!(
                    (found[0].name, found[0].filename),
                    ("hello", "pool/hello_1.0-1_amd64.deb")
                );
            }
        }
    }
}

#[test]
fn indexes_are_asked_for_by_their_hash_where_that_is_offered() {
    let files = Repository::new("stable", packages()).signed(&key());
    let (result, asked) = read_with(files, &key(), &source(), &summer());
    assert!(result.is_ok());
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[1].starts_with("dists/stable/main/binary-amd64/by-hash/SHA256/"),
        "{asked:?}"
    );
}

#[test]
fn d1_an_index_that_is_not_what_was_signed_is_refused() {
    let repository = Repository {
        by_hash: false,
        ..Repository::new("stable", packages())
    };
    let mut files = repository.signed(&key());
    let index = "dists/stable/main/binary-amd64/Packages.xz";
    let other = Compression::Xz.compress(repository.index("amd64").replace("1.0-1", "1.0-2").as_bytes());
    files.insert(index.to_owned(), other);
    let error = refused(files.clone());
    assert!(error.contains("Packages.xz has the SHA-256"), "{error}");
    let bytes = repository.signed(&key())[index].clone();
    files.insert(index.to_owned(), bytes[..bytes.len() - 4].to_vec());
    assert!(refused(files.clone()).contains("has the SHA-256"));
    files.remove(index);
    let error = refused(files);
    assert!(
        error.contains("is not there, though the archive's signed file names it"),
        "{error}"
    );
}

#[test]
fn d2_what_nobody_who_is_trusted_signed_is_refused() {
    let repository = Repository::new("stable", packages());
    let error = refused(repository.signed(&Key::new(2, BIRTH)));
    assert!(error.contains("is not in the keyring"), "{error}");
    let mut files = repository.signed(&key());
    let name = "dists/stable/InRelease";
    let text = String::from_utf8(files[name].clone()).unwrap();
    files.insert(
        name.to_owned(),
        text.replace("Origin: Example", "Origin: Mallory").into_bytes(),
    );
    assert!(refused(files.clone()).contains("is over something else"));
    files.insert(name.to_owned(), format!("{text}SHA256:\n").into_bytes());
    assert!(refused(files.clone()).contains("something stands behind it"));
    let (_, plain) = repository.unsigned();
    files.insert(name.to_owned(), plain.into_bytes());
    assert!(refused(files).contains("does not begin with"));
    // One that is signed apart, but over another text.
    let mut files = repository.signed_apart(&key());
    files.get_mut("dists/stable/Release").unwrap().push(b'\n');
    assert!(refused(files.clone()).contains("is over something else"));
    files.remove("dists/stable/Release.gpg");
    assert!(refused(files).contains("is there a suite `stable`?"));
}

#[test]
fn d2_keys_that_were_revoked_or_expired_count_for_nothing() {
    let repository = Repository::new("stable", packages());
    let expiring = [&[5, 9][..], &(30 * 86400_u32).to_be_bytes()].concat();
    for (keyring, part) in [
        (key().keyring_with(&key().revocation(), &[]), "was revoked"),
        (key().keyring_with(&[], &expiring), "has expired"),
        (key().keyring_with(&[], &[2, 27, 0x01]), "may not sign"),
    ] {
        let mirror = Mirror {
            files: repository.signed(&key()),
            asked: Mutex::default(),
        };
        let keyring = Keyring::read(&keyring).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (source, clock, architectures) = (source(), summer(), ["amd64".to_owned()]);
        let read = read_archive(&source, &architectures, &keyring, &clock, &mirror);
        let error = whole(&runtime.block_on(read).unwrap_err());
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn d2_hashes_that_can_be_forged_are_refused() {
    let (mut files, release) = Repository::new("stable", packages()).unsigned();
    let weak = release.replace("SHA256:", "MD5Sum:");
    files.insert(
        "dists/stable/InRelease".to_owned(),
        key().clearsign(&weak, 1_780_272_000),
    );
    assert!(refused(files).contains("only hashes that can be forged"));
    let index = "Package: a1\nVersion: 1\nArchitecture: all\nFilename: pool/a.deb\nSize: 1\nSHA1: 00\n";
    let index = Index {
        uri: String::new(),
        suite: String::new(),
        component: String::new(),
        bytes: index.as_bytes().to_vec(),
    };
    assert!(matches!(
        index.packages(),
        Err(crate::debian::IndexError::WeakHash { line: 1 })
    ));
}

#[test]
fn d3_an_expired_or_older_index_is_refused_unless_a_snapshot_is_meant() {
    let files = || Repository::new("stable", packages()).signed(&key());
    let at = |at: &str, seen: Option<&str>| Clock {
        at: time(at),
        seen: seen.map(time),
    };
    let error = |clock| whole(&read_with(files(), &key(), &source(), &clock).0.unwrap_err());
    assert!(error(at("2026-06-09T00:00:00Z", None)).contains("expired at 2026-06-08T00:00:00Z"));
    let older = error(at("2026-06-02T00:00:00Z", Some("2026-06-01T00:00:01Z")));
    assert!(older.contains("was seen before"), "{older}");
    assert!(error(at("2026-05-01T00:00:00Z", None)).contains("the future"));
    // A snapshot is judged by its own time.
    for clock in [
        at("2026-06-01T00:00:00Z", None),
        at("2026-06-02T00:00:00Z", Some("2026-06-01T00:00:00Z")),
    ] {
        assert!(read_with(files(), &key(), &source(), &clock).0.is_ok());
    }
}

#[test]
fn what_was_not_asked_for_is_refused_by_its_name() {
    let files = || Repository::new("stable", packages()).signed(&key());
    let mut testing = files();
    let signed = testing.remove("dists/stable/InRelease").unwrap();
    testing.insert("dists/testing/InRelease".to_owned(), signed);
    let ask = |change: &dyn Fn(&mut Source)| {
        let mut source = source();
        change(&mut source);
        whole(
            &read_with(testing.clone(), &key(), &source, &summer())
                .0
                .unwrap_err(),
        )
    };
    assert!(
        ask(&|source| source.suite = "testing".to_owned())
            .contains("about `stable` and `stable`, not about `testing`")
    );
    let ask = |change: &dyn Fn(&mut Source)| {
        let mut source = source();
        change(&mut source);
        whole(&read_with(files(), &key(), &source, &summer()).0.unwrap_err())
    };
    assert!(
        ask(&|source| source.components = vec!["contrib".to_owned()])
            .contains("no component `contrib`; it has main")
    );
    assert!(ask(&|source| source.suite = "sid".to_owned()).contains("is there a suite `sid`?"));
    let none = ask(&|source| source.signed_by.fingerprints = vec!["0".repeat(40)]);
    assert!(none.contains("there is no key"), "{none}");
    let other = Repository {
        architectures: vec!["arm64".to_owned()],
        ..Repository::new("stable", packages())
    };
    assert!(refused(other.signed(&key())).contains("no packages for `amd64`; it has all, arm64"));
}

#[test]
fn d4_a_second_mirror_is_verified_as_the_first() {
    // The index cannot be had by its hash; what stands under its name is from somewhere else.
    let repository = Repository::new("stable", packages());
    let mut files = repository.signed(&key());
    files.retain(|path, _| !path.contains("by-hash"));
    assert!(read(files.clone(), &key()).is_ok());
    let mallory = Repository::new("stable", vec![Package::new("hello", "6.6-6", "amd64")]);
    let index = "dists/stable/main/binary-amd64/Packages.xz";
    files.insert(index.to_owned(), mallory.unsigned().0[index].clone());
    assert!(refused(files).contains("has the SHA-256"));
}

#[test]
fn d6_an_index_that_unpacks_to_more_than_was_signed_is_refused() {
    let repository = Repository::new("stable", packages());
    let (mut files, release) = repository.unsigned();
    let plain = repository.index("amd64");
    let bomb = Compression::Xz.compress(&vec![b'\n'; 64 << 20]);
    let good = Compression::Xz.compress(plain.as_bytes());
    let entry = |bytes: &[u8]| {
        format!(
            "{} {} main/binary-amd64/Packages.xz",
            Digest::of(bytes).hex(),
            bytes.len()
        )
    };
    let release = release.replace(&entry(&good), &entry(&bomb));
    let path = format!(
        "dists/stable/main/binary-amd64/by-hash/SHA256/{}",
        Digest::of(&bomb).hex()
    );
    files.insert(path, bomb);
    files.insert(
        "dists/stable/InRelease".to_owned(),
        key().clearsign(&release, 1_780_272_000),
    );
    let error = refused(files);
    assert!(
        error.contains(&format!("and {} bytes", plain.len() + 1)),
        "{error}"
    );
}
