//! What is packed: a large tree of real files, many small files from a seed, and a tiny application.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, measure};

/// What the large tree is copied from, as far as the machine has it: the Go toolchain, and what Debian's packages bring.
const LARGE: [&str; 14] = [
    "/usr/local/go",
    "/usr/lib/gcc",
    "/usr/lib/python3.11",
    "/usr/lib/python3",
    "/usr/lib/node_modules",
    "/usr/lib/llvm-14",
    "/usr/lib/git-core",
    "/usr/share/perl",
    "/usr/share/vim",
    "/usr/share/zoneinfo",
    "/usr/share/icons",
    "/usr/share/java",
    "/usr/share/fonts",
    "/usr/share/i18n",
];
/// What `--quick` copies.
const SMALL: [&str; 2] = ["/usr/share/perl", "/usr/lib/python3.11"];

/// A build context: `tree/`, a `cairn.toml` and a `Dockerfile` that both copy it whole.
pub struct Tree {
    pub context: PathBuf,
    name: &'static str,
    pub files: usize,
    bytes: u64,
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}`: {} files, {} MB",
            self.name,
            self.files,
            self.bytes / 1_000_000
        )
    }
}

impl Tree {
    /// A copy of `source`, by default of the machine's own toolchains and libraries, in `inputs`; one that is there is
    /// taken as it is.
    pub fn big(source: Option<&Path>, inputs: &Path, quick: bool) -> Result<Self> {
        let name = if quick { "big (quick)" } else { "big" };
        let context = inputs.join(if quick { "big-quick" } else { "big" });
        Self::made(name, context, |tree| match source {
            Some(source) => copy(source, tree),
            None => {
                let sources: &[&str] = if quick { &SMALL } else { &LARGE };
                let mut found = false;
                for source in sources.iter().map(Path::new).filter(|source| source.is_dir()) {
                    copy(source, &tree.join(source.strip_prefix("/").unwrap_or(source)))?;
                    found = true;
                }
                if found { Ok(()) } else { copy(&toolchain()?, tree) }
            }
        })
    }

    /// One file, to know what the program takes by itself.
    pub fn one(context: &Path) -> Result<Self> {
        Self::made("one", context.to_owned(), |tree| {
            write(&tree.join("file"), "one\n")
        })
    }

    /// Small files of 1 to 4 KB in directories of a hundred: 50,000, or 2,000 if it has to be quick.
    pub fn many(inputs: &Path, quick: bool) -> Result<Self> {
        let (name, count) = if quick {
            ("many (quick)", 2_000)
        } else {
            ("many", 50_000)
        };
        Self::made(
            name,
            inputs.join(if quick { "many-quick" } else { "many" }),
            |tree| {
                let mut random = Random(20_261);
                for number in 0..count {
                    let directory = tree.join(format!("{:03}", number / 100));
                    if number % 100 == 0 {
                        fs::create_dir_all(&directory).map_err(cannot("create", &directory))?;
                    }
                    let length = 1024 + (random.next() % 3072) as usize;
                    write(&directory.join(format!("{number:05}.txt")), &random.text(length))?;
                }
                Ok(())
            },
        )
    }

    /// Makes the tree if it is not there. It gets its name when it is complete.
    fn made(name: &'static str, context: PathBuf, make: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let tree = context.join("tree");
        if !tree.is_dir() {
            let unfinished = context.join("unfinished");
            measure::remove(&unfinished)?;
            fs::create_dir_all(&unfinished).map_err(cannot("create", &unfinished))?;
            make(&unfinished)?;
            fs::rename(&unfinished, &tree).map_err(cannot("rename", &unfinished))?;
        }
        write(&context.join("cairn.toml"), &tree_spec("name = \"bench\"", ""))?;
        write(&context.join("Dockerfile"), "FROM scratch\nCOPY tree /tree\n")?;
        let mut found = (0, 0);
        visit(&tree, &mut |size| found = (found.0 + 1, found.1 + size))?;
        Ok(Self {
            context,
            name,
            files: found.0,
            bytes: found.1,
        })
    }

    /// Says how Cairn compresses from now on.
    pub fn compress(&self, compression: &str) -> Result<()> {
        let names = format!("name = \"bench\"\ncompression = \"{compression}\"");
        self.write_spec(&names, "")
    }

    /// Says whether Cairn cuts the layer into parts from now on.
    pub fn split(&self, split: bool) -> Result<()> {
        self.write_spec("name = \"bench\"", if split { "split = \"auto\"\n" } else { "" })
    }

    /// Says where the image is released from now on.
    pub fn released_at(&self, repository: &str) -> Result<()> {
        self.write_spec(&format!("name = \"bench\"\nrepository = \"{repository}\""), "")
    }

    fn write_spec(&self, names: &str, layer: &str) -> Result<()> {
        write(&self.context.join("cairn.toml"), &tree_spec(names, layer))?;
        measure::remove_file(&self.context.join("cairn.lock"))
    }

    /// Makes the files' times those of now, as a fresh checkout does.
    pub fn touch(&self) -> Result<()> {
        measure::run(
            Command::new("find")
                .arg(self.context.join("tree"))
                .args(["-type", "f", "-exec", "touch", "{}", "+"]),
        )
    }

    /// Writes 2 KB that no round before has written.
    pub fn change(&self, round: usize) -> Result<()> {
        let text = Random(round as u64 + 1).text(2048);
        write(&self.context.join("tree/changed.txt"), &text)
    }
}

/// Numbers that look random, from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Text that compresses to about a half.
    fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length + 8);
        while text.len() < length {
            text.push_str(&format!("{} ", self.next() % 100_000));
        }
        text.truncate(length);
        text
    }
}

fn copy(source: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(cannot("create", to))?;
    measure::run(Command::new("cp").arg("-a").arg(source.join(".")).arg(to))
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
    write(
        &context.join("cairn.toml"),
        &spec(&names, "", "from = \"app\", to = \"/app\""),
    )
}

fn spec(names: &str, layer: &str, copy: &str) -> String {
    format!(
        "[image]\n{names}\nplatforms = [\"linux/amd64\"]\n\n[[layer]]\nname = \"tree\"\n{layer}copy = [{{ {copy} }}]\n"
    )
}

/// The toolchains bring keys of their own tests, which Cairn would refuse to copy.
fn tree_spec(names: &str, layer: &str) -> String {
    spec(
        names,
        layer,
        "from = \"tree/\", to = \"/tree/\", allow-secrets = [\"**\"]",
    )
}

/// The size of a file.
pub fn bytes_of(file: &Path) -> Result<u64> {
    let metadata = fs::metadata(file).map_err(cannot("read", file))?;
    Ok(metadata.len())
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
