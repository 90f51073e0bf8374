//! The file of users.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_registry::server::{Htpasswd, HtpasswdError};

use super::reload::Watched;
use crate::failure::{Classify, Exit, Failure};

/// Longest file of users, in bytes (4 MiB).
const LIMIT: usize = 4 << 20;

/// The file of users is not one.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// A line is wrong.
    #[error("{} is not a list of users", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, and why.
        source: HtpasswdError,
    },
    /// There is no randomness to be had.
    #[error("the system has no randomness")]
    Random(#[source] std::io::Error),
}

impl Classify for UsersError {
    fn exit(&self) -> Exit {
        match self {
            Self::Line { .. } => Exit::Input,
            Self::Random(_) => Exit::Environment,
        }
    }
}

/// Reads the file `path`, of which `checks` passwords may be checked at once, and says how to read it again.
pub fn read(path: &Path, checks: usize) -> Result<(Arc<Htpasswd>, Watched), Failure> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| UsersError::Random(std::io::Error::other(error.to_string())))?;
    let wrong = |path: &Path, source| UsersError::Line {
        path: path.to_owned(),
        source,
    };
    let seen = super::reload::read_all(&[path.to_owned()], LIMIT)?;
    let users = Htpasswd::new(&String::from_utf8_lossy(&seen[0]), key, checks);
    let users = Arc::new(users.map_err(|source| wrong(path, source))?);
    let (again, owned) = (Arc::clone(&users), path.to_owned());
    let watched = Watched::new(
        "file of users",
        vec![path.to_owned()],
        LIMIT,
        seen,
        move |bytes| {
            let replaced = again.replace(&String::from_utf8_lossy(&bytes[0]));
            Ok(replaced.map_err(|source| wrong(&owned, source))?)
        },
    );
    Ok((users, watched))
}
