//! An archive: packages, their index, and its signature.

use std::collections::BTreeMap;

use cairn_oci::Digest;

use super::deb::{Compression, Package};
use super::key::{Key, armor};

/// An archive, file by file.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) suite: String,
    pub(crate) date: String,
    pub(crate) valid_until: Option<String>,
    pub(crate) by_hash: bool,
    pub(crate) architectures: Vec<String>,
    pub(crate) packages: Vec<Package>,
    pub(crate) index_compressions: Vec<Compression>,
    /// When it was signed, in seconds since 1970.
    pub(crate) signed_at: u32,
}

impl Repository {
    /// One of 2026-06-01 for `amd64`, valid for a week.
    pub(crate) fn new(suite: &str, packages: Vec<Package>) -> Self {
        Self {
            suite: suite.to_owned(),
            date: "Mon, 01 Jun 2026 00:00:00 UTC".to_owned(),
            valid_until: Some("Mon, 08 Jun 2026 00:00:00 UTC".to_owned()),
            by_hash: true,
            architectures: vec!["amd64".to_owned()],
            packages,
            index_compressions: vec![Compression::Xz, Compression::None],
            signed_at: 1_780_272_000,
        }
    }

    /// The index for an architecture.
    pub(crate) fn index(&self, architecture: &str) -> String {
        let own = |package: &&Package| [architecture, "all"].contains(&package.value("Architecture"));
        let paragraphs = self.packages.iter().filter(own).map(|package| {
            let deb = package.deb();
            format!(
                "{}Filename: {}\nSize: {}\nMD5sum: {}\nSHA256: {}\n",
                package.paragraph(),
                package.file_name(),
                deb.len(),
                "0".repeat(32),
                Digest::of(&deb).hex()
            )
        });
        paragraphs.collect::<Vec<_>>().join("\n")
    }

    /// Every file but the signed one, and the text of that.
    pub(crate) fn unsigned(&self) -> (BTreeMap<String, Vec<u8>>, String) {
        let mut files = BTreeMap::new();
        let mut listed = String::new();
        for package in &self.packages {
            files.insert(package.file_name(), package.deb());
        }
        for architecture in &self.architectures {
            let index = self.index(architecture).into_bytes();
            for compression in &self.index_compressions {
                let bytes = compression.compress(&index);
                let directory = format!("main/binary-{architecture}");
                let name = format!("{directory}/Packages{}", compression.ending());
                let digest = Digest::of(&bytes).hex();
                listed.push_str(&format!(" {digest} {} {name}\n", bytes.len()));
                if self.by_hash {
                    let path = format!("dists/{}/{directory}/by-hash/SHA256/{digest}", self.suite);
                    files.insert(path, bytes.clone());
                }
                files.insert(format!("dists/{}/{name}", self.suite), bytes);
            }
        }
        (files, self.release(&listed))
    }

    fn release(&self, listed: &str) -> String {
        let until = self
            .valid_until
            .iter()
            .map(|until| format!("Valid-Until: {until}\n"));
        format!(
            "Origin: Example\nSuite: {0}\nCodename: {0}\nDate: {1}\n{2}{3}Architectures: all {4}\nComponents: main\n\
             No-Support-for-Architecture-all: Packages\nSHA256:\n{listed}",
            self.suite,
            self.date,
            until.collect::<String>(),
            if self.by_hash {
                "Acquire-By-Hash: yes\n"
            } else {
                ""
            },
            self.architectures.join(" "),
        )
    }

    /// All files, with `InRelease`.
    pub(crate) fn signed(&self, key: &Key) -> BTreeMap<String, Vec<u8>> {
        let (mut files, release) = self.unsigned();
        let signed = key.clearsign(&release, self.signed_at);
        files.insert(format!("dists/{}/InRelease", self.suite), signed);
        files
    }

    /// All files, with `Release` and `Release.gpg`.
    pub(crate) fn signed_apart(&self, key: &Key) -> BTreeMap<String, Vec<u8>> {
        let (mut files, release) = self.unsigned();
        let signature = key.signature(0, release.as_bytes(), self.signed_at, &[]);
        files.insert(
            format!("dists/{}/Release.gpg", self.suite),
            armor("SIGNATURE", &signature).into_bytes(),
        );
        files.insert(format!("dists/{}/Release", self.suite), release.into_bytes());
        files
    }
}
