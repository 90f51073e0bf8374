//! A small signed archive, made by the tests: keys, packages, indexes, signatures.

#![allow(dead_code, unused_imports, reason = "each test uses a part")]

mod deb;
mod key;
mod repository;

pub(crate) use self::deb::{Compression, Entry, Package};
pub(crate) use self::key::Key;
pub(crate) use self::repository::Repository;
