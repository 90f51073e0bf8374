//! Packages, as `dpkg-deb` would make them.

use std::io::Write as _;

use tar::{Builder, EntryType, Header};

/// How the members of a package are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }

    pub(crate) fn compress(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::None => bytes.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Self::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }
}

/// What a package has at a path.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Directory(u32),
    File(u32, Vec<u8>),
    Symlink(&'static str),
    Hardlink(&'static str),
    Pipe,
}

/// A package.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) entries: Vec<(String, Entry)>,
    /// What `control.tar` has beside `control`.
    pub(crate) control: Vec<(String, Vec<u8>)>,
    pub(crate) compression: Compression,
}

impl Package {
    pub(crate) fn new(name: &str, version: &str, architecture: &str) -> Self {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            fields: vec![
                field("Package", name),
                field("Version", version),
                field("Architecture", architecture),
                field("Maintainer", "Example <example@example.org>"),
                field("Installed-Size", "1"),
                field("Description", "an example\n that says nothing"),
            ],
            entries: Vec::new(),
            control: Vec::new(),
            compression: Compression::Xz,
        }
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.entries.push((path.to_owned(), entry));
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, Entry::File(0o644, content.as_bytes().to_vec()))
    }

    pub(crate) fn control_file(mut self, name: &str, content: &str) -> Self {
        self.control.push((name.to_owned(), content.as_bytes().to_vec()));
        self
    }

    pub(crate) fn compressed(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    pub(crate) fn value(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn paragraph(&self) -> String {
        self.fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect()
    }

    pub(crate) fn file_name(&self) -> String {
        let [name, version, architecture] =
            ["Package", "Version", "Architecture"].map(|field| self.value(field));
        format!("pool/{name}_{}_{architecture}.deb", version.replace(':', "."))
    }

    /// The package's file.
    pub(crate) fn deb(&self) -> Vec<u8> {
        let ending = self.compression.ending();
        let mut control: Vec<_> = vec![(
            "./control".to_owned(),
            Entry::File(0o644, self.paragraph().into_bytes()),
        )];
        control.extend(
            self.control
                .iter()
                .map(|(name, bytes)| (format!("./{name}"), Entry::File(0o755, bytes.clone()))),
        );
        ar(&[
            ("debian-binary", b"2.0\n"),
            (
                &format!("control.tar{ending}"),
                &self.compression.compress(&tar(&control)),
            ),
            (
                &format!("data.tar{ending}"),
                &self.compression.compress(&tar(&self.entries)),
            ),
        ])
    }
}

/// An archive of members, as `ar` writes it.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let header = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            0,
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

pub(crate) fn tar(entries: &[(String, Entry)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, entry) in entries {
        let mut header = Header::new_gnu();
        header.set_mtime(1_700_000_000);
        let (kind, mode, content): (_, _, &[u8]) = match entry {
            Entry::Directory(mode) => (EntryType::Directory, *mode, &[]),
            Entry::File(mode, content) => (EntryType::Regular, *mode, content),
            Entry::Symlink(_) => (EntryType::Symlink, 0o777, &[]),
            Entry::Hardlink(_) => (EntryType::Link, 0o644, &[]),
            Entry::Pipe => (EntryType::Fifo, 0o644, &[]),
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if let Entry::Symlink(target) | Entry::Hardlink(target) = entry {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}
