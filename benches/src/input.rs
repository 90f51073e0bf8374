//! What is packed: a copy of a tree that every machine with Rust has, and a tiny application.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, measure};

/// A build context: `tree/`, a `cairn.toml` and a `Dockerfile` that both copy it whole.
pub struct Tree {
    pub context: PathBuf,
    source: PathBuf,
    files: usize,
    bytes: u64,
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source.display();
        write!(
            f,
            "a copy of {source}: {} files, {} MB",
            self.files,
            self.bytes / 1_000_000
        )
    }
}

impl Tree {
    /// Copies `source`, by default the Rust toolchain, into `context`.
    pub fn copy(source: Option<&Path>, context: &Path) -> Result<Self> {
        let source = match source {
            Some(source) => source.to_owned(),
            None => toolchain()?,
        };
        let tree = context.join("tree");
        fs::create_dir_all(context).map_err(cannot("create", context))?;
        measure::run(Command::new("cp").arg("-a").arg(source.join(".")).arg(&tree))?;
        write(
            &context.join("cairn.toml"),
            &spec("name = \"bench\"", "tree/", "/tree/"),
        )?;
        write(&context.join("Dockerfile"), "FROM scratch\nCOPY tree /tree\n")?;
        let mut found = (0, 0);
        visit(&tree, &mut |size| found = (found.0 + 1, found.1 + size))?;
        Ok(Self {
            context: context.to_owned(),
            source,
            files: found.0,
            bytes: found.1,
        })
    }

    /// Writes 2 KB that no round before has written.
    pub fn change(&self, round: usize) -> Result<()> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ round as u64;
        let mut text = String::new();
        while text.len() < 2048 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{state:016x}"));
        }
        write(&self.context.join("tree/changed.txt"), &text)
    }
}

/// The active toolchain; of one that shares its root with the rest of the system, only Rust's own part.
fn toolchain() -> Result<PathBuf> {
    let root = measure::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let root = PathBuf::from(root.trim());
    let shared = root == Path::new("/usr") || root == Path::new("/usr/local");
    Ok(if shared { root.join("lib/rustlib") } else { root })
}

/// An image with one small file, and a spec that says where it is released.
pub fn write_application(context: &Path, repository: &str, version: &str) -> Result<()> {
    fs::create_dir_all(context).map_err(cannot("create", context))?;
    write(&context.join("app"), &format!("version {version}\n"))?;
    let names = format!("name = \"app\"\nrepository = \"{repository}\"");
    write(&context.join("cairn.toml"), &spec(&names, "app", "/app"))
}

fn spec(names: &str, from: &str, to: &str) -> String {
    format!(
        "[image]\n{names}\nplatforms = [\"linux/amd64\"]\n\n[[layer]]\nname = \"tree\"\n\
         copy = [{{ from = \"{from}\", to = \"{to}\" }}]\n\n[config]\nentrypoint = [\"{to}\"]\n"
    )
}

/// The sizes of all files under `directory`, added up.
pub fn bytes_under(directory: &Path) -> Result<u64> {
    let mut total = 0;
    visit(directory, &mut |size| total += size)?;
    Ok(total)
}

fn visit(directory: &Path, file: &mut dyn FnMut(u64)) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(cannot("read", directory))? {
        let path = entry.map_err(cannot("read", directory))?.path();
        let metadata = fs::symlink_metadata(&path).map_err(cannot("read", &path))?;
        if metadata.is_dir() {
            visit(&path, file)?;
        } else if metadata.is_file() {
            file(metadata.len());
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(cannot("write", path))
}

fn cannot(verb: &str, path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("cannot {verb} {}: {error}", path.display())
}
