//! Instructions that become `[config]`.

use std::time::Duration;

use super::super::draft::{Health, Key};
use super::super::lines::Instruction;
use super::super::words::{self, Word};
use super::super::{DockerfileError, write};
use super::{State, entry, join};
use crate::spec::{Inherit, values};

/// What Docker's `PATH` is where an image says none, and what most images say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most ports that a range may stand for.
const PORT_LIMIT: u32 = 1000;

impl State<'_> {
    pub(super) fn setting(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        match instruction.keyword.as_str() {
            "ENV" => self.env(instruction),
            "LABEL" => self.labels(instruction),
            "MAINTAINER" => {
                let comments = self.comments([instruction.shown()]);
                let authors = instruction.arguments.trim_matches('"').to_owned();
                let name = "org.opencontainers.image.authors".to_owned();
                entry(&mut self.draft.labels, name, comments, authors);
                Ok(())
            }
            "EXPOSE" => self.expose(instruction),
            "USER" => self.user(instruction),
            "WORKDIR" => self.directory(instruction),
            "ENTRYPOINT" => self.command(instruction, Key::Entrypoint),
            "CMD" => self.command(instruction, Key::Cmd),
            "SHELL" => {
                let shell = words::list(&instruction.arguments).filter(|shell| !shell.is_empty());
                self.shell = shell
                    .ok_or_else(|| instruction.error("SHELL takes a list such as [\"/bin/sh\", \"-c\"]"))?;
                let lines = [
                    instruction.shown(),
                    "  -> it stands in what is run; the image keeps no shell".to_owned(),
                ];
                let comments = self.comments(lines);
                self.draft.config_notes.extend(comments);
                Ok(())
            }
            "VOLUME" => self.volumes(instruction),
            "STOPSIGNAL" => self.stop_signal(instruction),
            "HEALTHCHECK" => self.health(instruction),
            _ => {
                let advice = "  -> images have no triggers: say it in the spec of the image that is built upon this one";
                let comments = self.comments([instruction.shown(), advice.to_owned()]);
                self.draft.config_notes.extend(comments);
                Ok(())
            }
        }
    }

    /// A setting that cannot be said as it is.
    fn refuse(&mut self, instruction: &Instruction, why: &str) {
        let comments = self.comments([instruction.shown(), format!("  -> CHECK: {why}")]);
        self.draft.config_notes.extend(comments);
    }

    fn pairs(&self, instruction: &Instruction) -> Result<Vec<(String, Word)>, DockerfileError> {
        let words = words::split(&instruction.arguments, self.escape);
        let Some(first) = words.first() else {
            return Err(instruction.error(format!("{} without a name", instruction.keyword)));
        };
        if !first.contains('=') {
            // The old form: one name, and everything after it.
            let (name, value) = instruction
                .arguments
                .split_once(char::is_whitespace)
                .ok_or_else(|| {
                    instruction.error(format!("{} {first} without a value", instruction.keyword))
                })?;
            return Ok(vec![(name.to_owned(), self.expand(instruction, value.trim())?)]);
        }
        let pair = |word: &String| {
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| instruction.error(format!("`{word}` has no `=`")))?;
            let name = self.expand(instruction, name)?.text;
            if name.is_empty() {
                return Err(instruction.error("a name is empty"));
            }
            Ok((name, self.expand(instruction, value)?))
        };
        words.iter().map(pair).collect()
    }

    fn env(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        for (name, value) in self.pairs(instruction)? {
            let Word { mut text, unknown } = value;
            let mut comments = std::mem::take(&mut self.waiting);
            let only_path = !unknown.is_empty() && unknown.iter().all(|variable| variable == "PATH");
            if name == "PATH" && only_path {
                // Cut out where the variable stood: it was between colons, or at an end.
                text = match text.strip_prefix(':') {
                    Some(after) => format!("{PATH}:{after}"),
                    None if text.ends_with(':') => format!("{text}{PATH}"),
                    None => text.replacen("::", &format!(":{PATH}:"), 1),
                };
                comments.push("CHECK: $PATH is the base's; this has what most bases say".to_owned());
            } else if !unknown.is_empty() || has_placeholder(&text) {
                comments.push(instruction.shown());
                let why = if unknown.is_empty() {
                    format!("{name} depends on the platform, and a variable cannot")
                } else {
                    format!("the Dockerfile does not say what {} is", unknown.join(", "))
                };
                comments.push(format!("  -> CHECK: {why}; write the value into [config.env]"));
                self.draft.config_notes.extend(comments);
                continue;
            }
            self.variables.insert(name.clone(), text.clone());
            entry(&mut self.draft.env, name, comments, text);
        }
        Ok(())
    }

    fn labels(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        for (name, value) in self.pairs(instruction)? {
            let mut comments = std::mem::take(&mut self.waiting);
            if !value.unknown.is_empty() || has_placeholder(&value.text) {
                comments.push(instruction.shown());
                comments.push(format!(
                    "  -> CHECK: the Dockerfile does not say what {name} is; the ledger says who released what, and when"
                ));
                self.draft.config_notes.extend(comments);
                continue;
            }
            entry(&mut self.draft.labels, name, comments, value.text);
        }
        Ok(())
    }

    fn expose(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        let mut ports = Vec::new();
        for word in self.words(instruction, &instruction.arguments)? {
            match ports_of(&word.text).filter(|_| word.unknown.is_empty()) {
                Some(more) => ports.extend(more),
                None => {
                    self.refuse(instruction, &format!("`{}` is no port", word.text));
                }
            }
        }
        if ports.is_empty() {
            return Ok(());
        }
        let comments = std::mem::take(&mut self.waiting);
        let known = &mut self.draft.ports;
        known.comments.extend(comments);
        known.value.extend(ports);
        let known = known.clone();
        let texts: Vec<String> = known.value.iter().map(port_text).collect();
        entry(
            &mut self.draft.config,
            Key::Expose,
            known.comments,
            format!("[{}]", texts.join(", ")),
        );
        Ok(())
    }

    fn user(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        let user = self.expand(instruction, &instruction.arguments)?;
        let text = user.text.trim().to_owned();
        if !user.unknown.is_empty() || values::Owner::parse(&text).is_err() {
            self.refuse(
                instruction,
                "this names no user by itself; write `user` into [config]",
            );
            return Ok(());
        }
        let comments = std::mem::take(&mut self.waiting);
        entry(&mut self.draft.config, Key::User, comments, write::quoted(&text));
        Ok(())
    }

    fn directory(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        let path = self.expand(instruction, &instruction.arguments)?;
        let joined = join(&self.workdir, path.text.trim());
        match values::absolute_directory(&joined)
            .ok()
            .filter(|_| path.unknown.is_empty())
        {
            Some(directory) => {
                let comments = std::mem::take(&mut self.waiting);
                entry(
                    &mut self.draft.config,
                    Key::Workdir,
                    comments,
                    write::quoted(&directory),
                );
                self.workdir = directory;
            }
            None => self.refuse(
                instruction,
                "this is no path by itself; write `workdir` into [config]",
            ),
        }
        Ok(())
    }

    fn command(&mut self, instruction: &Instruction, key: Key) -> Result<(), DockerfileError> {
        let mut comments = std::mem::take(&mut self.waiting);
        let words = self.run_by(&instruction.arguments, &mut comments);
        if words.iter().any(|word| word.contains('\0')) {
            return Err(instruction.error("a NUL character cannot be in a command"));
        }
        entry(&mut self.draft.config, key, comments, write::list(&words));
        Ok(())
    }

    /// What is run: a list as it is, anything else by the shell.
    fn run_by(&self, arguments: &str, comments: &mut Vec<String>) -> Vec<String> {
        if let Some(words) = words::list(arguments) {
            return words;
        }
        comments
            .push("a shell runs it, as the Dockerfile says; without one, write a list of words".to_owned());
        let mut words = self.shell.clone();
        words.push(arguments.to_owned());
        words
    }

    fn volumes(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        let words = match words::list(&instruction.arguments) {
            Some(words) => words
                .into_iter()
                .map(|text| Word {
                    text,
                    unknown: Vec::new(),
                })
                .collect(),
            None => self.words(instruction, &instruction.arguments)?,
        };
        let mut volumes = Vec::new();
        for word in words {
            let path = values::absolute_directory(&join("/", &word.text)).ok();
            match path.filter(|path| word.unknown.is_empty() && path != "/") {
                Some(path) => volumes.push(path),
                None => self.refuse(instruction, &format!("`{}` is no volume", word.text)),
            }
        }
        self.draft.volumes.extend(volumes);
        if !self.draft.volumes.is_empty() {
            let mut comments = std::mem::take(&mut self.waiting);
            if let Some(before) = self.draft.config.remove(&Key::Volumes) {
                comments.splice(0..0, before.comments);
            }
            let volumes: Vec<&String> = self.draft.volumes.iter().collect();
            let list = write::list(&volumes);
            entry(&mut self.draft.config, Key::Volumes, comments, list);
        }
        Ok(())
    }

    fn stop_signal(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        let word = self.expand(instruction, instruction.arguments.trim())?;
        let text = word.text.to_uppercase();
        let signal = values::signal(&text).or_else(|_| values::signal(&format!("SIG{text}")));
        match signal.ok().filter(|_| word.unknown.is_empty()) {
            Some(signal) => {
                let comments = std::mem::take(&mut self.waiting);
                entry(
                    &mut self.draft.config,
                    Key::StopSignal,
                    comments,
                    write::quoted(&signal),
                );
            }
            None => self.refuse(instruction, "this is no signal"),
        }
        Ok(())
    }

    fn health(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        let arguments = instruction.arguments.trim();
        let (word, rest) = arguments
            .split_once(char::is_whitespace)
            .unwrap_or((arguments, ""));
        let mut health = Health::default();
        if word.eq_ignore_ascii_case("none") {
            health.test = write::quoted("NONE");
        } else if word.eq_ignore_ascii_case("cmd") && !rest.trim().is_empty() {
            let mut said = Vec::new();
            let words = self.run_by(rest.trim(), &mut said);
            self.waiting.extend(said);
            health.test = write::list(&words);
        } else {
            return Err(
                instruction.error("HEALTHCHECK has the form `HEALTHCHECK CMD …` or `HEALTHCHECK NONE`")
            );
        }
        for (name, value) in &instruction.flags {
            let text = match name.as_str() {
                "interval" | "timeout" | "start-period" | "start-interval" => {
                    duration(value).map(|time| write::quoted(&time))
                }
                "retries" => value
                    .parse::<u32>()
                    .ok()
                    .filter(|count| (1..=1000).contains(count))
                    .map(|count| count.to_string()),
                _ => return Err(instruction.error(format!("HEALTHCHECK has no --{name}"))),
            };
            match text {
                Some(text) => {
                    health.options.insert(name.clone(), text);
                }
                // Docker takes 0 for its default.
                None if value.starts_with('0') => {}
                None => self
                    .waiting
                    .push(format!("CHECK: --{name}={value} is not a value that Cairn knows")),
            }
        }
        health.comments = std::mem::take(&mut self.waiting);
        self.draft.health = Some(health);
        Ok(())
    }

    /// Everything is inherited in a Dockerfile, but what the base runs is not run with another entry point.
    pub(super) fn inherited(&self) -> Vec<&'static str> {
        let has = |key| self.draft.config.contains_key(&key);
        let is_inherited = |part: Inherit| match part {
            Inherit::Entrypoint => !has(Key::Entrypoint),
            Inherit::Cmd => !has(Key::Cmd) && !has(Key::Entrypoint),
            Inherit::User => !has(Key::User),
            Inherit::Workdir => !has(Key::Workdir),
            Inherit::StopSignal => !has(Key::StopSignal),
            Inherit::Healthcheck => self.draft.health.is_none(),
            Inherit::Env | Inherit::Labels | Inherit::Expose | Inherit::Volumes => true,
        };
        let parts = Inherit::ALL.into_iter().filter(|(_, part)| is_inherited(*part));
        parts.map(|(name, _)| name).collect()
    }
}

/// Whether a value has what stands for the platform's.
pub(super) fn has_placeholder(text: &str) -> bool {
    ["{arch}", "{os}", "{variant}"]
        .iter()
        .any(|word| text.contains(word))
}

/// `80`, `80/udp`, `8000-8010`
fn ports_of(text: &str) -> Option<Vec<(u32, String)>> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    if last < first || last - first >= PORT_LIMIT {
        return None;
    }
    let port = |number: u32| {
        values::port(&format!("{number}/{protocol}")).ok()?;
        Some((number, protocol.clone()))
    };
    (first..=last).map(port).collect()
}

fn port_text((number, protocol): &(u32, String)) -> String {
    match protocol.as_str() {
        "tcp" => number.to_string(),
        protocol => write::quoted(&format!("{number}/{protocol}")),
    }
}

/// A time as Go writes it, in whole milliseconds; none for what is beyond Cairn's bounds, and for 0.
fn duration(text: &str) -> Option<String> {
    let mut left = text;
    let mut whole = Duration::ZERO;
    while !left.is_empty() {
        let number_length = left
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let (number, rest) = left.split_at(number_length);
        let unit_length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, rest) = rest.split_at(unit_length);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        whole = whole.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        left = rest;
    }
    let milliseconds = whole.as_millis();
    match milliseconds {
        1..=86_400_000 if milliseconds.is_multiple_of(1000) => Some(format!("{}s", milliseconds / 1000)),
        1..=86_400_000 => Some(format!("{milliseconds}ms")),
        _ => None,
    }
}
