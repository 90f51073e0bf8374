//! The environment and the clock: the only module of the workspace that reads them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// 10 GiB.
const DEFAULT_CACHE_SIZE: u64 = 10 << 30;

/// Everything that is read from outside once, at the start.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    /// The directory that the program was started in.
    pub directory: PathBuf,
    /// Whether stderr is a terminal.
    pub stderr_is_terminal: bool,
    /// Whether stdin is a terminal.
    pub stdin_is_terminal: bool,
}

/// No directory for data, configuration or state can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither {variable} nor HOME is set")]
pub struct NoHome {
    /// The variable that would have said it.
    pub variable: &'static str,
}

/// A variable should name a size and does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is `{text}`, not a number of bytes, alone or followed by K, M, G or T")]
pub struct BadSize {
    /// The variable.
    pub variable: &'static str,
    /// What it says.
    pub text: String,
}

/// Bytes; `K`, `M`, `G` and `T` stand for powers of 1,024.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, ""),
    };
    let power = match unit.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KIB" => 1,
        "M" | "MIB" => 2,
        "G" | "GIB" => 3,
        "T" | "TIB" => 4,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1024_u64.pow(power))
}

impl Environment {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When the working directory is gone.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment enters"
    )]
    pub fn read() -> std::io::Result<Self> {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Ok(Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            directory: std::env::current_dir()?,
            stderr_is_terminal: std::io::stderr().is_terminal(),
            stdin_is_terminal: std::io::stdin().is_terminal(),
        })
    }

    /// The time, in whole seconds.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock enters")]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    /// The time, in whole milliseconds: for logs.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock enters")]
    pub fn clock() -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// A variable that is set, not empty, and UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.to_str().filter(|text| !text.is_empty())
    }

    /// A variable that names a file or directory.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables
            .get(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    }

    /// Whether a pipeline runs this: `CI` is set to anything but `false` or `0`.
    #[must_use]
    pub fn is_ci(&self) -> bool {
        self.text("CI")
            .is_some_and(|value| !matches!(value, "false" | "0"))
    }

    /// How many columns lines on stdout may have: `COLUMNS`, else those of the terminal; none: as many as they need.
    #[must_use]
    pub fn columns(&self) -> Option<usize> {
        let said = self.text("COLUMNS").and_then(|text| text.parse().ok());
        let terminal = || usize::from(rustix::termios::tcgetwinsize(std::io::stdout()).ok()?.ws_col).into();
        said.or_else(terminal).filter(|columns| *columns > 0)
    }

    /// Whether `NO_COLOR` asks for plain text.
    #[must_use]
    pub fn no_color(&self) -> bool {
        self.variables
            .get("NO_COLOR")
            .is_some_and(|value| !value.is_empty())
    }

    /// Whether stderr is a terminal on which lines can be drawn again.
    #[must_use]
    pub fn is_rich_terminal(&self) -> bool {
        self.stderr_is_terminal && self.text("TERM").is_some_and(|name| name != "dumb")
    }

    /// `$XDG_DATA_HOME/cairn/store`.
    ///
    /// # Errors
    ///
    /// [`NoHome`].
    pub fn store(&self) -> Result<PathBuf, NoHome> {
        Ok(self.base("XDG_DATA_HOME", ".local/share")?.join("cairn/store"))
    }

    /// `$XDG_CONFIG_HOME/cairn`.
    ///
    /// # Errors
    ///
    /// [`NoHome`].
    pub fn config(&self) -> Result<PathBuf, NoHome> {
        Ok(self.base("XDG_CONFIG_HOME", ".config")?.join("cairn"))
    }

    /// `$CAIRN_STATE`, else `$XDG_STATE_HOME/cairn`.
    ///
    /// # Errors
    ///
    /// [`NoHome`].
    pub fn state(&self) -> Result<PathBuf, NoHome> {
        match self.path("CAIRN_STATE") {
            Some(path) => Ok(self.absolute(&path)),
            None => Ok(self.base("XDG_STATE_HOME", ".local/state")?.join("cairn")),
        }
    }

    /// `$CAIRN_CACHE_DIR`, else `$XDG_CACHE_HOME/cairn`.
    ///
    /// # Errors
    ///
    /// [`NoHome`].
    pub fn cache(&self) -> Result<PathBuf, NoHome> {
        match self.path("CAIRN_CACHE_DIR") {
            Some(path) => Ok(self.absolute(&path)),
            None => Ok(self.base("XDG_CACHE_HOME", ".cache")?.join("cairn")),
        }
    }

    /// Most bytes of the cache of compressed segments: `CAIRN_CACHE_SIZE`, else 10 GiB.
    ///
    /// # Errors
    ///
    /// [`BadSize`].
    pub fn cache_size(&self) -> Result<u64, BadSize> {
        match self.text("CAIRN_CACHE_SIZE") {
            None => Ok(DEFAULT_CACHE_SIZE),
            Some(text) => parse_size(text).ok_or_else(|| BadSize {
                variable: "CAIRN_CACHE_SIZE",
                text: text.to_owned(),
            }),
        }
    }

    /// How many threads can run at once.
    #[must_use]
    pub fn processors(&self) -> NonZeroUsize {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// `path`, from the directory that the program was started in.
    #[must_use]
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// An XDG base directory; one that is not absolute is ignored, as the specification says.
    fn base(&self, variable: &'static str, below_home: &str) -> Result<PathBuf, NoHome> {
        if let Some(path) = self.path(variable).filter(|path| path.is_absolute()) {
            return Ok(path);
        }
        let home = self.path("HOME").filter(|path| path.is_absolute());
        home.map(|home| home.join(below_home)).ok_or(NoHome { variable })
    }
}

#[cfg(test)]
impl Environment {
    /// An environment of exactly these variables.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), OsString::from(value));
        Self {
            variables: variables.iter().map(own).collect(),
            directory: PathBuf::from("/"),
            stderr_is_terminal: false,
            stdin_is_terminal: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_follow_the_xdg_specification() {
        let home = Environment::of(&[("HOME", "/h"), ("XDG_STATE_HOME", "relative")]);
        assert_eq!(home.store().unwrap(), Path::new("/h/.local/share/cairn/store"));
        assert_eq!(home.state().unwrap(), Path::new("/h/.local/state/cairn"));
        assert_eq!(home.cache().unwrap(), Path::new("/h/.cache/cairn"));
        let cache = Environment::of(&[("HOME", "/h"), ("CAIRN_CACHE_DIR", "here")]);
        assert_eq!(cache.cache().unwrap(), Path::new("/here"));
        let xdg = Environment::of(&[("XDG_CONFIG_HOME", "/c")]);
        assert_eq!(xdg.config().unwrap(), Path::new("/c/cairn"));
        assert_eq!(
            xdg.store(),
            Err(NoHome {
                variable: "XDG_DATA_HOME"
            })
        );
    }

    #[test]
    fn sizes_have_units_of_1024() {
        let size = |text| Environment::of(&[("CAIRN_CACHE_SIZE", text)]).cache_size().ok();
        assert_eq!(Environment::of(&[]).cache_size(), Ok(10 << 30));
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("3k", 3 << 10),
            ("20M", 20 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["G", "-1", "1.5G", "1 G", "10X", "99999999999T"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn ci_is_what_pipelines_set() {
        assert!(Environment::of(&[("CI", "true")]).is_ci());
        assert!(Environment::of(&[("CI", "1")]).is_ci());
        for value in ["", "false", "0"] {
            assert!(!Environment::of(&[("CI", value)]).is_ci(), "{value:?}");
        }
    }
}
