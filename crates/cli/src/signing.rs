//! The signing key: where it is, and how it is made at first use.

use std::path::{Path, PathBuf};

use cairn_ledger::{LocalKey, Signer};
use cairn_store::files;

use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// Longest file of a key, in bytes.
const LIMIT: u64 = 64 << 10;

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The variable `CAIRN_KEY`.
    Variable,
    /// A file: `CAIRN_KEY_FILE`, or the one in the configuration.
    File(PathBuf),
}

/// The key in the configuration directory.
///
/// # Errors
///
/// When nothing says where that is.
pub fn default_path(cairn: &Cairn) -> Result<PathBuf, Failure> {
    Ok(cairn.environment.config()?.join("key.pem"))
}

/// The key, and where it comes from; none if there is none.
///
/// # Errors
///
/// When there is one that cannot be read. A key that was named and is not there is an error.
pub fn find(cairn: &Cairn) -> Result<Option<(LocalKey, Origin)>, Failure> {
    let environment = &cairn.environment;
    if let Some(text) = environment.text("CAIRN_KEY") {
        return Ok(Some((parse(text, "CAIRN_KEY")?, Origin::Variable)));
    }
    let named = environment
        .path("CAIRN_KEY_FILE")
        .map(|path| environment.absolute(&path));
    let must_exist = named.is_some();
    let path = match named {
        Some(path) => path,
        None => default_path(cairn)?,
    };
    match read(&path)? {
        Some(text) => {
            warn_if_readable(cairn, &path);
            Ok(Some((
                parse(&text, &path.display().to_string())?,
                Origin::File(path),
            )))
        }
        None if must_exist => Err(Failure::new(
            Exit::Input,
            format!("CAIRN_KEY_FILE names {}, which does not exist", path.display()),
        )),
        None => Ok(None),
    }
}

/// The key, which must be there.
///
/// # Errors
///
/// When there is none, with what to do.
pub fn require(cairn: &Cairn) -> Result<LocalKey, Failure> {
    match find(cairn)? {
        Some((key, _)) => Ok(key),
        None => Err(Failure::new(Exit::Input, "no signing key").with_hint(
            "set CAIRN_KEY or CAIRN_KEY_FILE; cairn key list shows whose keys the ledger has".to_owned(),
        )),
    }
}

/// The key; made if there is none, unless a pipeline runs this: a key made there would be lost.
///
/// # Errors
///
/// When there is none and none may be made.
pub fn find_or_make(cairn: &Cairn) -> Result<LocalKey, Failure> {
    if let Some((key, _)) = find(cairn)? {
        return Ok(key);
    }
    if cairn.environment.is_ci() {
        return Err(Failure::new(
            Exit::Input,
            "no signing key, and CI is set: a key made here would be lost",
        )
        .with_hint(
            "set CAIRN_KEY (or CAIRN_KEY_FILE); `cairn ledger init` on a workstation makes the first one"
                .to_owned(),
        ));
    }
    let (key, _) = make(cairn)?;
    cairn.terminal.say(format!(
        "made a signing key: ed25519 {}  (kept in your configuration; cairn key --pem shows the public half)",
        key.key().fingerprint()
    ));
    Ok(key)
}

/// Makes the key in the configuration directory, mode 0600, and never over another.
///
/// # Errors
///
/// When there is one, or it cannot be written.
pub fn make(cairn: &Cairn) -> Result<(LocalKey, PathBuf), Failure> {
    let path = default_path(cairn)?;
    let key = LocalKey::from_seed(&random()?).map_err(|error| Failure::of(Exit::Bug, &error))?;
    if files::create(&path, key.to_pem().expose().as_bytes(), files::PRIVATE)? {
        return Ok((key, path));
    }
    Err(Failure::new(
        Exit::Input,
        format!("there is a key in {} already", path.display()),
    )
    .with_hint(
        "a key that is replaced can no longer release; move it away first if that is meant".to_owned(),
    ))
}

/// Random bytes of the operating system.
///
/// # Errors
///
/// When it has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Failure::new(
            Exit::Environment,
            format!("the system gives no randomness: {error}"),
        )),
    }
}

fn parse(text: &str, origin: &str) -> Result<LocalKey, Failure> {
    LocalKey::from_pem(text).map_err(|error| {
        // The text is a secret: what is wrong with it is said, and never what it is.
        Failure::new(Exit::Input, format!("{origin} holds no usable key: {error}")).with_hint(error.hint())
    })
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    use std::io::Read;
    let failed =
        |error: std::io::Error| Failure::new(Exit::Input, format!("cannot read {}: {error}", path.display()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

fn warn_if_readable(cairn: &Cairn, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        cairn
            .terminal
            .warn(format!("{path} can be read by others; chmod 600 {path}"));
    }
}
