//! The one form of a lock's text.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use cairn_layer::Attributes;
use cairn_oci::{Descriptor, Platform};

use super::debian;
use super::text::{escape, path_text, quoted};
use super::{
    BaseListing, Lock, LockedBase, LockedFetch, LockedLayer, LockedOrigin, LockedPlatform, LockedSource,
    OUTPUT_VERSION,
};

pub(super) const HEADER: &str = "# Pins what `cairn build` takes from elsewhere. Written by `cairn lock`: review it, and do not edit it.\n";

pub(super) fn write(lock: &Lock, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write_head(lock.output, f)?;
    write_pins(lock, "", f)
}

/// The lock of a workspace.
pub(super) fn write_workspace(images: &BTreeMap<String, Lock>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write_head(OUTPUT_VERSION, f)?;
    for (name, lock) in images {
        let table = format!("image.{}", quoted(name));
        writeln!(f, "\n[{table}]")?;
        write_pins(lock, &format!("{table}."), f)?;
    }
    Ok(())
}

fn write_head(output: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(HEADER)?;
    writeln!(f, "output = {output}")
}

/// Everything but the output version; `at` stands before the name of each table, and ends in a dot unless it is empty.
fn write_pins(lock: &Lock, at: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "created = {}", quoted(&lock.created.value.to_string()))?;
    if lock.dated_by_spec {
        f.write_str("created-from = \"spec\"\n")?;
    }
    if let Some(base) = &lock.base {
        write_base(base, at, f)?;
    }
    if let Some(packages) = &lock.packages {
        debian::write(&packages.value, at, f)?;
    }
    for (url, locked) in &lock.fetched {
        let LockedFetch { digest, size } = locked.value;
        writeln!(f, "\n[[{at}fetch]]\nurl = {}", quoted(url))?;
        writeln!(f, "digest = \"{digest}\"\nsize = {size}")?;
    }
    for (layer, borders) in &lock.splits {
        writeln!(f, "\n[[{at}split]]\nlayer = {}", quoted(layer))?;
        list(
            f,
            "borders",
            borders.value.iter().map(|path| quoted(&path_text(path))),
        )?;
    }
    Ok(())
}

fn write_base(base: &LockedBase, at: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n[{at}base]")?;
    match &base.source.value {
        LockedSource::Image { reference, digest } => {
            writeln!(f, "image = {}\ndigest = \"{digest}\"", quoted(reference))?;
        }
        LockedSource::Layout { layout, digest } => {
            writeln!(f, "oci = {}\ndigest = \"{digest}\"", quoted(layout))?;
        }
        LockedSource::Archive { archive } => writeln!(f, "archive = {}", quoted(archive))?,
        LockedSource::RootFs { path } => writeln!(f, "rootfs = {}", quoted(path))?,
    }
    for (platform, locked) in &base.platforms {
        write_platform(platform, &locked.value, at, f)?;
    }
    Ok(())
}

fn write_platform(
    platform: &Platform,
    locked: &LockedPlatform,
    at: &str,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    writeln!(f, "\n[[{at}base.platform]]\nplatform = \"{platform}\"")?;
    match &locked.origin {
        LockedOrigin::Image { manifest, config } => {
            writeln!(
                f,
                "manifest = \"{manifest}\"\nconfig = {{ {} }}",
                descriptor(config)
            )?;
        }
        LockedOrigin::File { digest } => writeln!(f, "file = \"{digest}\"")?,
    }
    list(f, "layers", locked.layers.iter().map(layer))?;
    write_listing(&locked.listing, f)
}

fn write_listing(listing: &BaseListing, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let directories = listing.directories.iter();
    list(
        f,
        "directories",
        directories.map(|(path, attributes)| directory(&path_text(path), attributes)),
    )?;
    let links = listing.links.iter().map(|(path, target)| {
        format!(
            "{{ path = {}, to = {} }}",
            quoted(&path_text(path)),
            quoted(&escape(target))
        )
    });
    list(f, "links", links)?;
    list(f, "users", listing.users.iter().map(|line| quoted(line)))?;
    list(f, "groups", listing.groups.iter().map(|line| quoted(line)))?;
    list(
        f,
        "packages",
        listing
            .packages
            .iter()
            .map(|package| quoted(&package.to_string())),
    )
}

pub(super) fn list(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    elements: impl Iterator<Item = String>,
) -> fmt::Result {
    let elements: String = elements.map(|element| format!("  {element},\n")).collect();
    if elements.is_empty() {
        return writeln!(f, "{key} = []");
    }
    writeln!(f, "{key} = [\n{elements}]")
}

fn descriptor(descriptor: &Descriptor) -> String {
    format!(
        "digest = \"{}\", size = {}, media-type = {}",
        descriptor.digest,
        descriptor.size,
        quoted(descriptor.media_type.as_str())
    )
}

fn layer(layer: &LockedLayer) -> String {
    format!(
        "{{ {}, diff-id = \"{}\" }}",
        descriptor(&layer.descriptor),
        layer.diff_id
    )
}

fn directory(path: &str, attributes: &Attributes) -> String {
    let mut text = format!(
        "{{ path = {}, mode = \"{:04o}\", owner = \"{}:{}\"",
        quoted(path),
        attributes.mode,
        attributes.uid,
        attributes.gid
    );
    if !attributes.xattrs.is_empty() {
        let xattrs = attributes.xattrs.iter();
        let xattrs: Vec<_> = xattrs
            .map(|(name, value)| format!("{} = \"{}\"", quoted(&escape(name)), hex(value)))
            .collect();
        text.push_str(&format!(", xattrs = {{ {} }}", xattrs.join(", ")));
    }
    text.push_str(" }");
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
