//! `COPY` and `ADD`.

use cairn_layer::GlobFilter;

use super::super::draft::{Block, Copy, Fetch, Write};
use super::super::lines::Instruction;
use super::super::words::{self, Word};
use super::super::{DockerfileError, run, write};
use super::settings::has_placeholder;
use super::{State, join, shown};
use crate::spec::Spec;
use crate::spec::values::{self, Destination, Owner};

/// What a copy of the whole context leaves out: it is there for the build, not for the image.
const NOT_THE_APPLICATION: [&str; 5] = [".git/", ".dockerignore", "Dockerfile", "cairn.toml", "cairn.lock"];
/// Names without a dot that are files wherever they are seen.
const FILES: [&str; 12] = [
    "makefile",
    "dockerfile",
    "license",
    "readme",
    "gemfile",
    "rakefile",
    "procfile",
    "gradlew",
    "mvnw",
    "pipfile",
    "jenkinsfile",
    "vagrantfile",
];
const ARCHIVES: [&str; 8] = [
    ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst",
];

/// What one copy needs besides source and destination.
struct Options {
    mode: Option<String>,
    owner: Option<String>,
    exclude: Vec<String>,
    /// Where the destination begins.
    to: String,
    /// Whether the destination is a directory that things are put into.
    into: bool,
}

/// What one instruction gives.
#[derive(Default)]
struct Copied {
    copies: Vec<Copy>,
    writes: Vec<Write>,
    fetches: Vec<Fetch>,
    said: Vec<String>,
}

/// Where a copy of a file goes.
pub(super) fn target(copy: &Copy) -> String {
    match copy.to.strip_suffix('/') {
        Some(directory) => format!("{directory}/{}", last(&copy.from)),
        None => copy.to.clone(),
    }
}

fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

impl State<'_> {
    pub(super) fn copy(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        let words: Vec<Word> = match words::list(&instruction.arguments) {
            Some(words) => words
                .iter()
                .map(|word| self.expand(instruction, &format!("\"{word}\"")))
                .collect::<Result<_, _>>()?,
            None => self.words(instruction, &instruction.arguments)?,
        };
        let Some((destination, sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty())
        else {
            return Err(instruction.error(format!(
                "{} needs a source and a destination",
                instruction.keyword
            )));
        };
        let to = join(&self.workdir, &destination.text);
        let known = words.iter().all(|word| word.unknown.is_empty());
        let is_windows = words.iter().any(|word| word.text.contains('\\'));
        if !known || is_windows || Destination::parse(&to).is_err() {
            let why = if is_windows {
                "a path with a backslash is one of Windows"
            } else {
                "the Dockerfile does not say what the paths are"
            };
            let why = format!("  -> CHECK: {why}; write the copy by hand");
            let comments = self.comments(shown(instruction).into_iter().chain([why]));
            self.draft.note(comments);
            return Ok(());
        }
        let mut result = Copied::default();
        let options = self.options(instruction, to, sources.len(), &mut result)?;
        for source in sources {
            self.source(instruction, &source.text, &options, &mut result)?;
        }
        self.add(instruction, &options, result);
        Ok(())
    }

    fn options(
        &self,
        instruction: &Instruction,
        to: String,
        sources: usize,
        result: &mut Copied,
    ) -> Result<Options, DockerfileError> {
        let mut options = Options {
            into: to.ends_with('/') || sources > 1 || to == "/",
            to,
            mode: None,
            owner: None,
            exclude: Vec::new(),
        };
        for (name, value) in &instruction.flags {
            let value = self.expand(instruction, value)?.text;
            match name.as_str() {
                "chmod" => match run::octal(&value) {
                    Some(mode) => options.mode = Some(mode),
                    None => result
                        .said
                        .push(format!("CHECK: --chmod={value}; write `mode`, four octal digits")),
                },
                "chown" if Owner::parse(&value).is_ok() => options.owner = Some(value),
                "chown" => result.said.push(format!("CHECK: --chown={value}; write `owner`")),
                "exclude" if GlobFilter::new([&value]).is_ok() => options.exclude.push(value),
                "from" | "link" | "keep-git-dir" | "checksum" => {}
                _ => result.said.push(format!("CHECK: --{name} has no counterpart")),
            }
        }
        // Whoever hands out an owner's rights has to say whose.
        if options
            .mode
            .as_ref()
            .is_some_and(|mode| !mode.starts_with(['0', '1']))
        {
            options.owner.get_or_insert_with(|| "0:0".to_owned());
        }
        Ok(options)
    }

    fn source(
        &self,
        instruction: &Instruction,
        source: &str,
        options: &Options,
        result: &mut Copied,
    ) -> Result<(), DockerfileError> {
        if let Some(name) = source.strip_prefix("<<") {
            return self.heredoc(instruction, name, options, result);
        }
        if let Some(stage) = instruction.flag("from") {
            self.artefact(source, stage, options, result);
            return Ok(());
        }
        let is_url = source.starts_with("http://") || source.starts_with("https://");
        if instruction.keyword == "ADD"
            && (is_url || source.starts_with("git@") || source.starts_with("git://"))
        {
            return self.fetch(instruction, source, options, result);
        }
        let path = join("/", source);
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            self.context(options, result);
        } else if path.contains(['*', '?', '[']) {
            self.glob(path, options, result);
        } else if instruction.keyword == "ADD" && ARCHIVES.iter().any(|ending| path.ends_with(ending)) {
            result.said.push(format!(
                "CHECK: ADD unpacks {path}; unpack it in CI, and copy the directory: copy = [{{ from = \"dist/{}/\", to = {} }}]",
                last(path).split('.').next().unwrap_or("files"),
                write::quoted(&options.to)
            ));
        } else {
            self.local(path, options, result);
        }
        Ok(())
    }

    fn heredoc(
        &self,
        instruction: &Instruction,
        name: &str,
        options: &Options,
        result: &mut Copied,
    ) -> Result<(), DockerfileError> {
        let name = name.trim_start_matches('-');
        let Some(heredoc) = instruction.heredocs.iter().find(|heredoc| heredoc.name == name) else {
            return Ok(());
        };
        let mut text = heredoc.body.clone();
        if heredoc.expands && text.contains('$') {
            let quoted = format!("\"{}\"", text.replace('"', "\\\""));
            let word = self.expand(instruction, &quoted)?;
            if !word.unknown.is_empty() || has_placeholder(&word.text) {
                result.said.push(format!(
                    "CHECK: the Dockerfile does not say what {} is",
                    word.unknown.join(", ")
                ));
            } else {
                text = word.text;
            }
        }
        let to = if options.into {
            format!("{}/{name}", options.to.trim_end_matches('/'))
        } else {
            options.to.clone()
        };
        if values::image_file(&to).is_ok() {
            result.writes.push(Write {
                to,
                text,
                mode: options.mode.clone(),
                owner: options.owner.clone(),
            });
        }
        Ok(())
    }

    /// What another stage made.
    fn artefact(&self, source: &str, stage: &str, options: &Options, result: &mut Copied) {
        let stages = self.stages.iter().enumerate();
        let mut named = stages.filter(|(at, known)| {
            known.name.as_deref() == Some(&stage.to_lowercase()) || stage.parse() == Ok(*at)
        });
        if named.next().is_none() {
            result.said.push(format!(
                "CHECK: take {source} out of the image {stage} in CI, and copy it; or build upon that image"
            ));
            return;
        }
        let name = last(source);
        let arch = if self.draft.platforms.len() > 1 {
            "{arch}/"
        } else {
            ""
        };
        // The contents of a directory, if it is said or if the name tells.
        let is_directory = source.ends_with('/')
            || matches!(
                name,
                "dist" | "build" | "out" | "public" | "node_modules" | "publish" | "site-packages"
            );
        let from = match name {
            "" | "." => format!("dist/{arch}"),
            "dist" => format!("dist/{arch}"),
            name if is_directory && options.into => format!("dist/{arch}{name}/"),
            name => format!("dist/{arch}{name}"),
        };
        result.said.push(format!(
            "CHECK: the stage `{stage}` makes it: build it in CI, and put it at {from}"
        ));
        self.push(from, options, result);
    }

    /// `ADD URL`. With `--checksum` a `fetch` says the same.
    fn fetch(
        &self,
        instruction: &Instruction,
        url: &str,
        options: &Options,
        result: &mut Copied,
    ) -> Result<(), DockerfileError> {
        if !url.starts_with("http") || url.ends_with(".git") {
            let said = &mut result.said;
            said.push(format!("CHECK: check {url} out in CI, and copy it"));
            return Ok(());
        }
        let checksum = match instruction.flag("checksum") {
            Some(checksum) => Some(self.expand(instruction, checksum)?),
            None => None,
        };
        let sha256 = checksum
            .filter(|word| word.unknown.is_empty())
            .and_then(|word| Some(word.text.strip_prefix("sha256:")?.to_owned()));
        let fetch = Fetch {
            url: url.to_owned(),
            to: options.to.clone(),
            sha256: sha256.unwrap_or_else(|| "…".to_owned()),
            // What ADD takes from a URL is its owner's alone.
            mode: options.mode.clone().or_else(|| Some("0600".to_owned())),
            owner: options.owner.clone(),
        };
        let element = format!("fetch = [{}]", write::fetch(&fetch));
        if is_spec(&element) {
            result.fetches.push(fetch);
        } else {
            let said = &mut result.said;
            said.push("CHECK: it needs its SHA-256 (curl -L URL | sha256sum), in a layer:".to_owned());
            said.push(element);
        }
        Ok(())
    }

    fn context(&self, options: &Options, result: &mut Copied) {
        result
            .said
            .push(".cairnignore takes the place of .dockerignore, with the rules of .gitignore".to_owned());
        let exclude = NOT_THE_APPLICATION.iter().map(|glob| (*glob).to_owned());
        let mut options = Options {
            exclude: exclude.chain(options.exclude.clone()).collect(),
            mode: options.mode.clone(),
            owner: options.owner.clone(),
            to: options.to.clone(),
            into: true,
        };
        options.exclude.dedup();
        self.push("./".to_owned(), &options, result);
    }

    /// Docker puts what matches into the destination, and so does a glob whose last component alone has wildcards.
    fn glob(&self, path: &str, options: &Options, result: &mut Copied) {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        if options.into && !directory.contains(['*', '?', '[']) && !path.ends_with('/') {
            return self.push(path.to_owned(), options, result);
        }
        result.said.push(format!(
            "CHECK: what {path} is depends on the disk; name the file, or copy into a directory"
        ));
    }

    fn local(&self, path: &str, options: &Options, result: &mut Copied) {
        let bare = path.trim_end_matches('/');
        let is_directory = path.ends_with('/') || (self.surroundings.is_directory)(bare) == Some(true);
        if is_directory && options.into {
            // Docker copies what is in a directory, never the directory.
            return self.push(format!("{bare}/"), options, result);
        }
        let is_known = (self.surroundings.is_directory)(bare).is_some();
        let name = last(bare).to_lowercase();
        if options.into
            && !is_known
            && !name.trim_start_matches('.').contains('.')
            && !FILES.contains(&name.as_str())
        {
            result.said.push(format!(
                "CHECK: if {bare} is a directory, write from = \"{bare}/\""
            ));
        }
        self.push(bare.to_owned(), options, result);
    }

    fn push(&self, from: String, options: &Options, result: &mut Copied) {
        let mut to = options.to.clone();
        let into = options.into && !to.ends_with('/');
        if into {
            to.push('/');
        }
        let copy = Copy {
            from,
            to,
            mode: options.mode.clone(),
            owner: options.owner.clone(),
            exclude: options.exclude.clone(),
        };
        if !is_possible(&copy) {
            result
                .said
                .push(format!("CHECK: write the copy of {} by hand", copy.from));
        } else if clashes(result, &copy) {
            result.said.push(format!(
                "CHECK: {} goes where something else goes already",
                copy.from
            ));
        } else {
            result.copies.push(copy);
        }
    }

    fn add(&mut self, instruction: &Instruction, options: &Options, result: Copied) {
        let mut lines = shown(instruction);
        lines.extend(result.said.into_iter().map(|line| format!("  -> {line}")));
        let comments = self.comments(lines);
        let wish = match &result.copies[..] {
            [] if result.writes.is_empty() && result.fetches.is_empty() => return self.draft.note(comments),
            [copy] if last(&copy.from) != "." => last(&copy.from).to_owned(),
            _ => last(&options.to).to_owned(),
        };
        let layer = self.draft.layer(&wish, comments);
        layer.copies = result.copies;
        layer.writes = result.writes;
        layer.fetches = result.fetches;
    }

    /// Takes out what a later copy of the whole context brings as well: it was there early for the sake of a `RUN`.
    pub(super) fn drop_covered(&mut self) {
        let whole: Vec<(usize, String)> = self
            .draft
            .blocks
            .iter()
            .enumerate()
            .filter_map(|(at, block)| match block {
                Block::Layer(layer) => {
                    let all = layer.copies.iter().find(|copy| copy.from == "./")?;
                    Some((at, all.to.clone()))
                }
                Block::Note(_) => None,
            })
            .collect();
        let Some((last_at, _)) = whole.last() else {
            return;
        };
        let last_at = *last_at;
        for (at, block) in self.draft.blocks.iter_mut().enumerate().take(last_at) {
            let Block::Layer(layer) = block else {
                continue;
            };
            let covered = |copy: &Copy| {
                let later = whole.iter().filter(|(later, _)| *later > at);
                !copy.from.ends_with('/')
                    && copy.mode.is_none()
                    && later
                        .into_iter()
                        .any(|(_, to)| target(copy) == format!("{to}{}", copy.from))
            };
            layer.copies.retain(|copy| !covered(copy));
            let is_empty = layer.copies.is_empty() && layer.writes.is_empty() && layer.fetches.is_empty();
            if is_empty && layer.links.is_empty() && layer.directories.is_empty() {
                let mut lines = std::mem::take(&mut layer.comments);
                lines.push("  -> nothing to do: the copy of everything below has it".to_owned());
                *block = Block::Note(lines);
            }
        }
    }
}

/// Whether a spec takes the copy: the reader of specs knows best, and so it is asked.
fn is_possible(copy: &Copy) -> bool {
    is_spec(&format!("copy = [{}]", write::copy(copy)))
}

fn is_spec(element: &str) -> bool {
    let spec =
        format!("[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[[layer]]\nname = \"a\"\n{element}\n");
    Spec::parse(&spec).is_ok()
}

fn clashes(result: &Copied, copy: &Copy) -> bool {
    if copy.from.ends_with('/') {
        return false;
    }
    let path = target(copy);
    let copied = result.copies.iter().filter(|other| !other.from.ends_with('/'));
    copied.into_iter().any(|other| target(other) == path)
        || result.writes.iter().any(|write| write.to == path)
}
