//! What packages became, by everything that decides it: whoever builds them again need not have one of them.

use std::collections::BTreeMap;

use cairn_layer::{Attributes, LayerOptions, Listing, TreePath};
use cairn_oci::{Digest, json};
use cairn_packages::image::{self, Warning};

use super::codec::{Decoder, Encoder};
use super::snapshot::{attributes, rules};
use super::{Outline, Record};
use crate::lock::LockedPackage;

/// Longest list of warnings, in bytes.
const WARNINGS_LIMIT: usize = 16 << 20;

/// The layers of packages, and what is to know of them above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    /// The layers by their names, lowest first.
    pub(crate) layers: Vec<(String, Record)>,
    /// What they are for the layers above.
    pub(crate) below: Below,
}

/// What layers above packages, and messages about the image, must know of the packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Below {
    /// What base and packages have together.
    pub(crate) listing: Listing,
    /// The packages' files.
    pub(crate) files: Outline,
    /// What their scripts may have done besides.
    pub(crate) doubts: Vec<Warning>,
}

/// Names everything that decides what `packages` become: the program's code and tables for them, the rules of layers, the
/// packages themselves, in their order, and what is known of the base.
pub(crate) fn key_of_packages(
    packages: &[LockedPackage],
    architecture: &str,
    base: &Listing,
    options: &LayerOptions,
) -> Digest {
    let mut encoder = rules(options);
    encoder.string(image::CODE.as_bytes());
    encoder.number(image::MAX_LAYERS as u64);
    encoder.string(architecture.as_bytes());
    encoder.number(packages.len() as u64);
    for locked in packages {
        encoder.string(locked.package.to_string().as_bytes());
        encoder.digest(&locked.digest);
    }
    write_listing(&mut encoder, base);
    Digest::of(encoder.bytes())
}

impl Packed {
    pub(super) fn write(&self, encoder: &mut Encoder) {
        encoder.number(self.layers.len() as u64);
        for (name, record) in &self.layers {
            encoder.string(name.as_bytes());
            record.write(encoder);
        }
        let Below {
            listing,
            files,
            doubts,
        } = &self.below;
        write_listing(encoder, listing);
        files.write(encoder);
        encoder.string(&json::canonical(doubts));
    }

    pub(super) fn read(decoder: &mut Decoder<'_>) -> Option<Self> {
        let mut layers = Vec::new();
        for _ in 0..decoder.number()? {
            let name = std::str::from_utf8(decoder.string()?).ok()?;
            layers.push((name.to_owned(), Record::read(decoder)?));
        }
        let listing = read_listing(decoder)?;
        let files = Outline::read(decoder)?;
        let doubts = json::parse(decoder.string()?, WARNINGS_LIMIT).ok()?;
        let below = Below {
            listing,
            files,
            doubts,
        };
        Some(Self { layers, below })
    }
}

fn write_listing(encoder: &mut Encoder, listing: &Listing) {
    let Listing {
        directories,
        symlinks,
        passwd,
        group,
    } = listing;
    encoder.number(directories.len() as u64);
    for (path, of) in directories {
        encoder.string(path.as_bytes());
        attributes(encoder, of);
    }
    encoder.number(symlinks.len() as u64);
    for (path, target) in symlinks {
        encoder.string(path.as_bytes());
        encoder.string(target);
    }
    for file in [passwd, group] {
        encoder.number(file.is_some().into());
        encoder.string(file.as_deref().unwrap_or_default());
    }
}

fn read_listing(decoder: &mut Decoder<'_>) -> Option<Listing> {
    let mut listing = Listing::new();
    for _ in 0..decoder.number()? {
        let path = TreePath::new(decoder.string()?).ok()?;
        listing.directories.insert(path, read_attributes(decoder)?);
    }
    for _ in 0..decoder.number()? {
        let path = TreePath::new(decoder.string()?).ok()?;
        listing.symlinks.insert(path, decoder.string()?.to_vec());
    }
    for file in [&mut listing.passwd, &mut listing.group] {
        let is_there = decoder.number()? == 1;
        let content = decoder.string()?.to_vec();
        *file = is_there.then_some(content);
    }
    Some(listing)
}

fn read_attributes(decoder: &mut Decoder<'_>) -> Option<Attributes> {
    let mut number = || u32::try_from(decoder.number()?).ok();
    let (mode, uid, gid) = (number()?, number()?, number()?);
    let mut xattrs = BTreeMap::new();
    for _ in 0..decoder.number()? {
        xattrs.insert(decoder.string()?.to_vec(), decoder.string()?.to_vec());
    }
    Some(Attributes {
        mode,
        uid,
        gid,
        xattrs,
    })
}
