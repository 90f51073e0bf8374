//! The bundle of certificate authorities: what update-ca-certificates(8) would have made of ca-certificates.
//!
//! All certificates of the package are taken, as Debian's default is. Written are `/etc/ca-certificates.conf`, the bundle
//! `/etc/ssl/certs/ca-certificates.crt`, and for each certificate a link by its name and one by the hash of its subject, which
//! OpenSSL looks for.

use std::collections::BTreeMap;

use cairn_layer::TreePath;

use super::world::{World, link, path, text};
use super::{AssembleError, subject};

const DIRECTORY: &str = "usr/share/ca-certificates/";
const HEAD: &str = "# The certificates of /usr/share/ca-certificates that are in /etc/ssl/certs, as update-ca-certificates(8) reads it.\n";

pub(super) fn apply(world: &mut World<'_>) -> Result<(), AssembleError> {
    let Some(number) = world.package("ca-certificates") else {
        return Ok(());
    };
    let owner = Some(number);
    let is_certificate = |bytes: &[u8]| bytes.starts_with(DIRECTORY.as_bytes()) && bytes.ends_with(b".crt");
    let certificates = world.files.keys().filter(|at| is_certificate(at.as_bytes()));
    let certificates: Vec<_> = certificates.cloned().collect();
    let mut hashes: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    let (mut configuration, mut bundle) = (HEAD.as_bytes().to_vec(), Vec::new());
    for at in &certificates {
        let Some(content) = world.read(at)? else {
            continue;
        };
        configuration.extend_from_slice(&at.as_bytes()[DIRECTORY.len()..]);
        configuration.push(b'\n');
        bundle.extend_from_slice(&content);
        if !content.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        let name = String::from_utf8_lossy(at.file_name()).into_owned();
        let name = name
            .trim_end_matches(".crt")
            .replace([' ', ','], "_")
            .replace(['(', ')'], "=");
        let target = [b"/", at.as_bytes()].concat();
        if let Ok(by_name) = TreePath::new(format!("etc/ssl/certs/{name}.pem")) {
            world.add(owner, &by_name, link(&target));
            if let Some(hash) = subject::hash(&content) {
                let same = hashes.entry(hash).or_default();
                if !same.contains(&content) {
                    let at = path(&format!("etc/ssl/certs/{hash:08x}.{}", same.len()));
                    world.add(owner, &at, link(by_name.file_name()));
                    same.push(content);
                }
            }
        }
    }
    if bundle.is_empty() {
        return Ok(());
    }
    world.add(owner, &path("etc/ca-certificates.conf"), text(configuration));
    world.add(owner, &path("etc/ssl/certs/ca-certificates.crt"), text(bundle));
    Ok(())
}
