//! Packages that tests make themselves.

use std::io::{self, Write as _};
use std::sync::Arc;

use cairn_layer::Spool;

use crate::deb::{Archive, DebError, DebFlaw, DebLimits};
use crate::installed::Installed;

/// A package in the making.
#[derive(Clone)]
pub(crate) struct Deb {
    pub(crate) identity: Installed,
    fields: String,
    control: Vec<(String, Vec<u8>)>,
    data: Vec<u8>,
}

impl Deb {
    /// One without files: name, version and architecture as in `hello 1.0 all`.
    pub(crate) fn new(identity: &str) -> Self {
        Self {
            identity: identity.parse().unwrap(),
            fields: String::new(),
            control: Vec::new(),
            data: Vec::new(),
        }
    }

    /// With another field in its control file, or with another of that name.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push_str(&format!("{name}: {value}\n"));
        self
    }

    /// With a file in its control archive.
    pub(crate) fn info(mut self, name: &str, content: &str) -> Self {
        self.control.push((name.to_owned(), content.as_bytes().to_vec()));
        self
    }

    pub(crate) fn directory(self, path: &str, mode: u32) -> Self {
        self.member(tar::EntryType::Directory, path, mode, "", b"")
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.member(tar::EntryType::Regular, path, 0o644, "", content.as_bytes())
    }

    pub(crate) fn program(self, path: &str, mode: u32, content: &str) -> Self {
        self.member(tar::EntryType::Regular, path, mode, "", content.as_bytes())
    }

    pub(crate) fn symlink(self, path: &str, to: &str) -> Self {
        self.member(tar::EntryType::Symlink, path, 0o777, to, b"")
    }

    pub(crate) fn hardlink(self, path: &str, to: &str) -> Self {
        self.member(tar::EntryType::Link, path, 0o644, to, b"")
    }

    /// With an extended attribute of what comes next.
    pub(crate) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        let rest = [b" SCHILY.xattr.", name.as_bytes(), b"=", value, b"\n"].concat();
        let record = [format!("{}", rest.len() + 2).as_bytes(), &rest].concat();
        assert!(
            (10..100).contains(&record.len()),
            "a record with a length of two digits"
        );
        append(
            &mut self.data,
            tar::EntryType::XHeader,
            "./pax",
            0o644,
            "",
            &record,
        );
        self
    }

    /// With any member, its name as it is given, after `./`.
    pub(crate) fn member(
        mut self,
        kind: tar::EntryType,
        path: &str,
        mode: u32,
        link: &str,
        content: &[u8],
    ) -> Self {
        append(&mut self.data, kind, &format!("./{path}"), mode, link, content);
        self
    }

    pub(crate) fn control_tar(&self) -> Vec<u8> {
        let (name, version, architecture) = (
            self.identity.name(),
            self.identity.version(),
            self.identity.architecture(),
        );
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Ann <ann@example.org>\n{}Description: a test\n of packages\n",
            self.fields
        );
        let mut tar = Vec::new();
        append(&mut tar, tar::EntryType::Directory, "./", 0o755, "", b"");
        append(
            &mut tar,
            tar::EntryType::Regular,
            "./control",
            0o644,
            "",
            control.as_bytes(),
        );
        for (name, content) in &self.control {
            append(
                &mut tar,
                tar::EntryType::Regular,
                &format!("./{name}"),
                0o755,
                "",
                content,
            );
        }
        tar.extend_from_slice(&[0; 1024]);
        tar
    }

    pub(crate) fn data_tar(&self) -> Vec<u8> {
        [&self.data[..], &[0; 1024]].concat()
    }

    /// The bytes of the package, with its archives compressed as the endings say.
    pub(crate) fn bytes_as(&self, control: &str, data: &str) -> Vec<u8> {
        ar(&[
            ("debian-binary", b"2.0\n"),
            (
                &format!("control.tar{control}"),
                &compressed(control, &self.control_tar()),
            ),
            (&format!("data.tar{data}"), &compressed(data, &self.data_tar())),
        ])
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_as(".zst", ".zst")
    }

    pub(crate) fn read(&self) -> Result<Archive, DebError> {
        read(&self.bytes(), &self.identity)
    }

    pub(crate) fn archive(&self) -> Archive {
        self.read().unwrap()
    }
}

fn append(tar: &mut Vec<u8>, kind: tar::EntryType, path: &str, mode: u32, link: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    // As bytes: the crate would not write the names that tests of hostile archives need.
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// An ar archive with these members.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let header = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            1_700_000_000,
            0,
            0,
            100_644,
            content.len()
        );
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// `bytes` compressed as a member with this ending is.
pub(crate) fn compressed(ending: &str, bytes: &[u8]) -> Vec<u8> {
    match ending {
        "" => bytes.to_vec(),
        ".gz" => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        }
        ".xz" => {
            let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap()
        }
        ".zst" => zstd::encode_all(bytes, 1).unwrap(),
        other => panic!("{other} is no compression"),
    }
}

/// Reads a package into a spool of its own.
pub(crate) fn read(bytes: &[u8], expected: &Installed) -> Result<Archive, DebError> {
    read_within(bytes, expected, &DebLimits::default())
}

pub(crate) fn read_within(
    bytes: &[u8],
    expected: &Installed,
    limits: &DebLimits,
) -> Result<Archive, DebError> {
    let file = tempfile::tempfile().unwrap();
    let mut out = io::BufWriter::new(file.try_clone().unwrap());
    let mut spool = Spool::new(&mut out, Arc::new(file));
    Archive::read(bytes, expected, limits, &mut spool)
}

/// Why a package is refused, with all causes.
pub(crate) fn refusal(bytes: &[u8], expected: &Installed) -> String {
    chain(&read(bytes, expected).unwrap_err())
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let causes = causes.map(|cause| format!(": {cause}"));
    format!("{error}{}", causes.collect::<String>())
}

/// What is wrong with a package.
pub(crate) fn flaw(deb: &Deb) -> DebFlaw {
    deb.read().unwrap_err().flaw
}
