//! Names the code that makes layers of packages: this crate with its tables, and `cairn-layer`, which reads archives.
//! Whoever keeps what it made, keeps that under this name, so that another table is never taken for this one.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script lists its own sources, sorts them, and decides no image's bytes"
)]

use std::hash::Hasher as _;
use std::io;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 2] = ["src", "../layer/src"];

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    for directory in SOURCES {
        println!("cargo:rerun-if-changed={directory}");
        collect(Path::new(directory), &mut files)?;
    }
    files.sort();
    let mut hasher = std::hash::DefaultHasher::new();
    for file in files {
        hasher.write(file.as_os_str().as_encoded_bytes());
        hasher.write(&std::fs::read(&file)?);
    }
    println!("cargo:rustc-env=CAIRN_PACKAGES_CODE={:016x}", hasher.finish());
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
