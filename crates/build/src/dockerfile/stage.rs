//! Goes through the last stage of a Dockerfile, instruction by instruction.

mod accounts;
mod copy;
mod settings;

use std::collections::BTreeMap;

use cairn_oci::{Platform, Reference};

use super::draft::{Directory, Draft, Entry, Layer};
use super::lines::{File, Instruction};
use super::run::{self, Step};
use super::words::{self, Variables, Word};
use super::{DockerfileError, Surroundings, write};
use crate::spec::LAYER_LIMIT;
use crate::spec::values;

/// The values that BuildKit gives for the platform, as placeholders of the spec.
const PLATFORM: [(&str, &str); 4] = [
    ("TARGETARCH", "{arch}"),
    ("TARGETOS", "{os}"),
    ("TARGETVARIANT", "{variant}"),
    ("TARGETPLATFORM", "{os}/{arch}"),
];

/// One `FROM` and what follows it.
struct Stage {
    from: Instruction,
    image: Word,
    name: Option<String>,
    instructions: Vec<Instruction>,
}

/// The stage that becomes the image, in the making.
struct State<'a> {
    draft: Draft,
    surroundings: &'a Surroundings<'a>,
    stages: &'a [Stage],
    escape: char,
    /// `ARG` before the first `FROM`.
    globals: Variables,
    variables: Variables,
    shell: Vec<String>,
    workdir: String,
    /// Comments that wait for what they belong to.
    waiting: Vec<String>,
}

/// Makes the draft.
pub(super) fn draft(file: File, surroundings: &Surroundings<'_>) -> Result<Draft, DockerfileError> {
    let File {
        escape,
        instructions,
        trailing,
    } = file;
    let (globals, head, stages) = stages(instructions, escape)?;
    let Some(last) = stages.len().checked_sub(1) else {
        return Err(DockerfileError::NoFrom);
    };
    // A stage may go on where an earlier one ended.
    let mut chain = vec![last];
    while let Some(before) = chain.last().and_then(|at| parent(&stages, *at)) {
        chain.push(before);
    }
    chain.reverse();
    let mut state = State {
        draft: Draft {
            name: surroundings.name.to_string(),
            ..Draft::default()
        },
        surroundings,
        stages: &stages,
        escape,
        globals,
        variables: Variables::new(),
        shell: vec!["/bin/sh".to_owned(), "-c".to_owned()],
        workdir: "/".to_owned(),
        waiting: Vec::new(),
    };
    state.head(head);
    state.base(&chain);
    for at in &chain {
        for instruction in &stages[*at].instructions {
            state.instruction(instruction)?;
        }
    }
    state.waiting.extend(trailing);
    state.finish(&chain);
    Ok(state.draft)
}

type Stages = (Variables, Vec<String>, Vec<Stage>);

fn stages(instructions: Vec<Instruction>, escape: char) -> Result<Stages, DockerfileError> {
    let mut globals = Variables::new();
    let mut head = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions {
        match (instruction.keyword.as_str(), stages.last_mut()) {
            ("FROM", _) => stages.push(from(instruction, &globals, escape)?),
            (_, Some(stage)) => stage.instructions.push(instruction),
            ("ARG", None) => {
                head.extend(instruction.comments.clone());
                arguments(&instruction, &mut globals, &Variables::new(), escape)?;
            }
            (_, None) => {
                return Err(instruction.error(format!("{} before the first FROM", instruction.keyword)));
            }
        }
    }
    Ok((globals, head, stages))
}

fn from(instruction: Instruction, globals: &Variables, escape: char) -> Result<Stage, DockerfileError> {
    let arguments = words::split(&instruction.arguments, escape);
    let (image, name) = match &arguments[..] {
        [image] => (image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(name.to_lowercase())),
        _ => return Err(instruction.error("FROM has the form `FROM image [AS name]`")),
    };
    let image = words::expand(image, globals, escape).ok_or_else(|| too_long(&instruction))?;
    Ok(Stage {
        image,
        name,
        from: instruction,
        instructions: Vec::new(),
    })
}

/// The earlier stage that a stage goes on from.
fn parent(stages: &[Stage], at: usize) -> Option<usize> {
    let image = stages[at].image.text.to_lowercase();
    (0..at)
        .rev()
        .find(|before| stages[*before].name.as_ref() == Some(&image))
}

fn too_long(instruction: &Instruction) -> DockerfileError {
    instruction.error(format!("a value is longer than {} bytes", words::LONGEST))
}

/// `ARG a b=c`
fn arguments(
    instruction: &Instruction,
    variables: &mut Variables,
    globals: &Variables,
    escape: char,
) -> Result<(), DockerfileError> {
    for word in words::split(&instruction.arguments, escape) {
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name, Some(default)),
            None => (word.as_str(), None),
        };
        let platform = PLATFORM.iter().find(|(known, _)| *known == name);
        if let Some((_, placeholder)) = platform {
            variables.insert(name.to_owned(), (*placeholder).to_owned());
        } else if let Some(default) = default {
            let value = words::expand(default, variables, escape).ok_or_else(|| too_long(instruction))?;
            variables.insert(name.to_owned(), value.text);
        } else if let Some(value) = globals.get(name) {
            variables.insert(name.to_owned(), value.clone());
        }
    }
    Ok(())
}

/// The name that Docker means, with its host; none for what is no name.
fn full_name(image: &str) -> Option<Reference> {
    let host = image.split_once('/').map(|(host, _)| host);
    let has_host = host.is_some_and(|host| host.contains(['.', ':']) || host == "localhost");
    let full = match host {
        _ if has_host => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    };
    let reference: Reference = full.parse().ok()?;
    if reference.tag.is_some() || reference.digest.is_some() {
        return Some(reference);
    }
    format!("{full}:latest").parse().ok()
}

/// `path`, below `directory` if it is relative, without `.` and `..`. A slash at its end stays.
pub(super) fn join(directory: &str, path: &str) -> String {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{directory}/{path}")
    };
    let mut components: Vec<&str> = Vec::new();
    for component in whole.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            component => components.push(component),
        }
    }
    let into = path.ends_with('/') || path == "." || path.ends_with("/.");
    let joined = format!("/{}", components.join("/"));
    if into && joined != "/" {
        joined + "/"
    } else {
        joined
    }
}

impl State<'_> {
    fn head(&mut self, comments: Vec<String>) {
        let head = &mut self.draft.head;
        head.push("Made from a Dockerfile by `cairn init --from`. No command is run in a build: each RUN is a comment that says".to_owned());
        head.push("what to do instead. What a person has to look at is marked CHECK.".to_owned());
        if !comments.is_empty() {
            head.push(String::new());
            head.extend(comments);
        }
        let uses_target = |instruction: &Instruction| {
            instruction.keyword == "ARG" && instruction.arguments.contains("TARGET")
        };
        let several = self
            .stages
            .iter()
            .flat_map(|stage| &stage.instructions)
            .any(uses_target);
        let from = self.stages.last().and_then(|stage| stage.from.flag("platform"));
        self.draft.platforms = match from.and_then(|platform| platform.parse::<Platform>().ok()) {
            Some(platform) => vec![platform.to_string()],
            None if several => vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()],
            None => vec![self.surroundings.platform.to_string()],
        };
    }

    fn base(&mut self, chain: &[usize]) {
        let Some(first) = chain.first().map(|at| &self.stages[*at]) else {
            return;
        };
        let mut comments = Vec::new();
        for at in chain {
            comments.extend(self.stages[*at].from.comments.clone());
        }
        comments.push(first.from.shown());
        let image = &first.image;
        if image.text == "scratch" {
            comments.push("no [base]: the image is built from nothing".to_owned());
        } else if let Some(reference) = full_name(&image.text).filter(|_| image.unknown.is_empty()) {
            if !image.text.contains('@')
                && !image
                    .text
                    .rsplit('/')
                    .next()
                    .is_some_and(|name| name.contains(':'))
            {
                comments
                    .push("a name without a tag means `latest`; cairn.lock pins what that is now".to_owned());
            }
            self.draft.base.value = Some(reference.to_string());
        } else {
            comments.push("CHECK: this names no image by itself; say which one:".to_owned());
            comments.push("[base]".to_owned());
            comments.push("image = \"registry.example.org/name:tag\"".to_owned());
        }
        self.draft.base.comments = comments;
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        self.waiting.extend(instruction.comments.clone());
        match instruction.keyword.as_str() {
            "ARG" => arguments(instruction, &mut self.variables, &self.globals, self.escape),
            "RUN" => self.run(instruction),
            "COPY" | "ADD" => self.copy(instruction),
            _ => self.setting(instruction),
        }?;
        if self.draft.layers().count() > LAYER_LIMIT {
            return Err(instruction.error(format!("this makes more than {LAYER_LIMIT} layers")));
        }
        Ok(())
    }

    /// The words of a line with their variables replaced.
    fn words(&self, instruction: &Instruction, line: &str) -> Result<Vec<Word>, DockerfileError> {
        let words = words::split(line, self.escape);
        words.iter().map(|word| self.expand(instruction, word)).collect()
    }

    fn expand(&self, instruction: &Instruction, word: &str) -> Result<Word, DockerfileError> {
        words::expand(word, &self.variables, self.escape).ok_or_else(|| too_long(instruction))
    }

    /// The comments that wait, and what the instruction was.
    fn comments(&mut self, lines: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut comments = std::mem::take(&mut self.waiting);
        comments.extend(lines);
        comments
    }

    fn run(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        let script = match &instruction.heredocs[..] {
            [] => match words::list(&instruction.arguments) {
                Some(words) => words.join(" "),
                None => instruction.arguments.clone(),
            },
            heredocs => heredocs.iter().map(|heredoc| heredoc.body.as_str()).collect(),
        };
        let shell_escape = '\\';
        let steps = run::steps(&script, &self.variables, &self.workdir, shell_escape);
        let mut lines = shown(instruction);
        let mut layer = Layer::default();
        let mut said = Vec::new();
        for step in steps {
            said.extend(self.step(step, &mut layer));
        }
        if said.is_empty() {
            said.push("nothing to do".to_owned());
        }
        said.dedup();
        lines.extend(said.into_iter().map(|line| format!("  -> {line}")));
        let comments = self.comments(lines);
        if layer.links.is_empty() && layer.directories.is_empty() {
            self.draft.note(comments);
        } else {
            let wish = if layer.directories.is_empty() {
                "links"
            } else {
                "directories"
            };
            let new = self.draft.layer(wish, comments);
            new.links = layer.links;
            new.directories = layer.directories;
        }
        Ok(())
    }

    /// Does what a command does, if the spec can say it; gives what to say of it.
    fn step(&mut self, step: Step, layer: &mut Layer) -> Option<String> {
        match step {
            Step::Say(text) => Some(text),
            Step::Nothing(text) => Some(format!("nothing to do: {text}")),
            Step::User { user, group } => Some(self.add_user(user, group)),
            Step::Group(group) => Some(self.add_group(group)),
            Step::Directory { to, mode } => {
                let to = to.trim_end_matches('/').to_owned();
                let fits = values::image_path(&to).is_ok() && is_free(layer, &to, false);
                let mode = mode.filter(|mode| mode.starts_with(['0', '1']));
                if !fits {
                    return (to != "/" && !layer.directories.iter().any(|known| known.to == to))
                        .then(|| format!("CHECK: {to} cannot be made here"));
                }
                layer.directories.push(Directory {
                    to,
                    mode,
                    owner: None,
                });
                Some("`dir` below".to_owned())
            }
            Step::Link { from, to } => {
                let fits = values::image_file(&from).is_ok()
                    && values::link_target(&to).is_ok()
                    && is_free(layer, &from, true);
                if !fits {
                    return Some(format!("CHECK: the link {from} cannot be made here"));
                }
                layer.links.push((from, to));
                Some("`link` below".to_owned())
            }
            Step::Owner {
                path,
                owner,
                recursive,
            } => Some(self.give_owner(&path, &owner, recursive, layer)),
            Step::Mode { path, mode } => Some(self.give_mode(&path, &mode, layer)),
        }
    }

    fn give_owner(&mut self, path: &str, owner: &str, recursive: bool, layer: &mut Layer) -> String {
        if values::Owner::parse(owner).is_err() {
            return format!("give {path} its owner with `owner` in `copy` or `dir`");
        }
        let path = path.trim_end_matches('/');
        let concerns = |to: &str| {
            let to = to.trim_end_matches('/');
            to == path || recursive && to.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        };
        let mut given = false;
        for layer in self.draft.layers_mut().chain([layer]) {
            for directory in layer
                .directories
                .iter_mut()
                .filter(|directory| concerns(&directory.to))
            {
                directory.owner = Some(owner.to_owned());
                given = true;
            }
            for copy in layer.copies.iter_mut().filter(|copy| concerns(&copy.to)) {
                copy.owner = Some(owner.to_owned());
                given = true;
            }
            for write in layer.writes.iter_mut().filter(|write| concerns(&write.to)) {
                write.owner = Some(owner.to_owned());
                given = true;
            }
        }
        match given {
            true => format!("`owner` where {path} is made"),
            false => format!(
                "if the base has it: dir = [{{ to = {}, owner = {} }}]",
                write::quoted(path),
                write::quoted(owner)
            ),
        }
    }

    fn give_mode(&mut self, path: &str, mode: &str, layer: &mut Layer) -> String {
        let path = path.trim_end_matches('/');
        // Whoever hands out an owner's rights has to say whose.
        if mode.starts_with(['0', '1']) {
            for layer in self.draft.layers_mut().chain([layer]) {
                if let Some(directory) = layer
                    .directories
                    .iter_mut()
                    .find(|directory| directory.to == path)
                {
                    directory.mode = Some(mode.to_owned());
                    return format!("`mode` where {path} is made");
                }
                if let Some(write) = layer.writes.iter_mut().find(|write| write.to == path) {
                    write.mode = Some(mode.to_owned());
                    return format!("`mode` where {path} is made");
                }
                let copied =
                    |copy: &&mut super::draft::Copy| !copy.from.ends_with('/') && copy::target(copy) == path;
                if let Some(copy) = layer.copies.iter_mut().find(copied) {
                    copy.mode = Some(mode.to_owned());
                    return format!("`mode` where {path} is copied");
                }
            }
        }
        format!("give {path} mode = \"{mode}\" where it is copied or made")
    }

    fn finish(&mut self, chain: &[usize]) {
        self.drop_covered();
        let waiting = std::mem::take(&mut self.waiting);
        self.draft.tail.extend(waiting);
        for (at, stage) in self.stages.iter().enumerate() {
            if chain.contains(&at) {
                continue;
            }
            let tail = &mut self.draft.tail;
            if !tail.is_empty() {
                tail.push(String::new());
            }
            let name = stage.name.clone().unwrap_or_else(|| at.to_string());
            tail.push(format!(
                "The stage `{name}` is no part of the image. CI does what it did:"
            ));
            tail.extend(stage.from.comments.iter().map(|line| format!("  # {line}")));
            tail.push(format!("  {}", stage.from.shown()));
            for instruction in &stage.instructions {
                tail.extend(instruction.comments.iter().map(|line| format!("  # {line}")));
                tail.extend(shown(instruction).into_iter().map(|line| format!("  {line}")));
            }
        }
        if self.draft.base.value.is_some() {
            self.draft.inherit = self.inherited();
        }
    }
}

/// The instruction, cut where its commands are joined if it is long, with its heredocs.
fn shown(instruction: &Instruction) -> Vec<String> {
    let text = instruction.shown();
    let mut lines = if text.chars().count() > 100 && instruction.keyword == "RUN" {
        text.replace(" && ", "\n    && ")
            .replace("; ", ";\n    ")
            .split('\n')
            .map(str::to_owned)
            .collect()
    } else {
        vec![text]
    };
    for heredoc in &instruction.heredocs {
        lines.extend(heredoc.body.lines().map(str::to_owned));
        lines.push(heredoc.name.clone());
    }
    lines
}

/// Whether `path` can be added to a layer of directories and links.
fn is_free(layer: &Layer, path: &str, is_leaf: bool) -> bool {
    let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
    let links = layer
        .links
        .iter()
        .any(|(from, _)| from == path || below(path, from));
    let directories = layer
        .directories
        .iter()
        .any(|directory| directory.to == path || is_leaf && below(&directory.to, path));
    let under = is_leaf && layer.links.iter().any(|(from, _)| below(from, path));
    !links && !directories && !under
}

/// Adds a setting with its comments.
fn entry<K: Ord, V>(map: &mut BTreeMap<K, Entry<V>>, key: K, comments: Vec<String>, value: V) {
    map.insert(key, Entry { comments, value });
}
