//! Lines of a Dockerfile, put together to instructions.

use super::DockerfileError;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    /// The line that it begins in, from 1.
    pub(super) line: usize,
    /// The word that it begins with, in capitals.
    pub(super) keyword: String,
    /// `--name=value`, before the arguments.
    pub(super) flags: Vec<(String, String)>,
    /// The rest, with continued lines joined.
    pub(super) arguments: String,
    /// The bodies of its heredocs.
    pub(super) heredocs: Vec<Heredoc>,
    /// The comments right before it and within it, without `#`.
    pub(super) comments: Vec<String>,
}

/// `<<NAME` … `NAME`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heredoc {
    pub(super) name: String,
    pub(super) body: String,
    /// Whether variables in it stand for their values: the name was not quoted.
    pub(super) expands: bool,
}

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// The character that continues a line: `\` or `` ` ``.
    pub(super) escape: char,
    pub(super) instructions: Vec<Instruction>,
    /// Comments after the last instruction.
    pub(super) trailing: Vec<String>,
}

impl Instruction {
    /// The value of a flag.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        let mut flags = self.flags.iter().rev();
        flags
            .find(|(flag, _)| flag == name)
            .map(|(_, value)| value.as_str())
    }

    /// Something is wrong with it.
    pub(super) fn error(&self, message: impl Into<String>) -> DockerfileError {
        DockerfileError::Line {
            line: self.line,
            message: message.into(),
        }
    }

    /// As it could be written in one line.
    pub(super) fn shown(&self) -> String {
        let mut text = self.keyword.clone();
        for (name, value) in &self.flags {
            let equals = if value.is_empty() { "" } else { "=" };
            text.push_str(&format!(" --{name}{equals}{value}"));
        }
        if !self.arguments.is_empty() {
            text.push(' ');
            text.push_str(&self.arguments);
        }
        text
    }
}

const KEYWORDS: [&str; 18] = [
    "FROM",
    "RUN",
    "CMD",
    "LABEL",
    "MAINTAINER",
    "EXPOSE",
    "ENV",
    "ADD",
    "COPY",
    "ENTRYPOINT",
    "VOLUME",
    "USER",
    "WORKDIR",
    "ARG",
    "ONBUILD",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
];

pub(super) fn read(text: &str) -> Result<File, DockerfileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    if let Some(at) = lines.iter().position(|line| line.contains('\0')) {
        // Neither paths nor configurations can have one.
        return Err(DockerfileError::Line {
            line: at + 1,
            message: "there is a NUL character".to_owned(),
        });
    }
    let (escape, mut at) = directives(&lines)?;
    let mut file = File {
        escape,
        instructions: Vec::new(),
        trailing: Vec::new(),
    };
    let mut comments: Vec<String> = Vec::new();
    while let Some(line) = lines.get(at) {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix('#') {
            comments.push(comment.trim().to_owned());
            at += 1;
        } else if trimmed.is_empty() {
            at += 1;
        } else {
            let (instruction, next) = instruction(&lines, at, escape, std::mem::take(&mut comments))?;
            file.instructions.push(instruction);
            at = next;
        }
    }
    file.trailing = comments;
    Ok(file)
}

/// The directives at the top: `# escape=` counts, `# syntax=` and `# check=` say nothing about the image.
fn directives(lines: &[&str]) -> Result<(char, usize), DockerfileError> {
    let mut escape = '\\';
    for (at, line) in lines.iter().enumerate() {
        let directive = line
            .trim()
            .strip_prefix('#')
            .and_then(|rest| rest.split_once('='));
        let Some((name, value)) = directive else {
            return Ok((escape, at));
        };
        match (name.trim().to_ascii_lowercase().as_str(), value.trim()) {
            ("escape", "\\") => escape = '\\',
            ("escape", "`") => escape = '`',
            ("escape", other) => {
                return Err(DockerfileError::Line {
                    line: at + 1,
                    message: format!("the escape character is \\ or `, not `{other}`"),
                });
            }
            ("syntax" | "check", _) => {}
            _ => return Ok((escape, at)),
        }
    }
    Ok((escape, lines.len()))
}

fn instruction(
    lines: &[&str],
    start: usize,
    escape: char,
    mut comments: Vec<String>,
) -> Result<(Instruction, usize), DockerfileError> {
    let mut at = start;
    let mut whole = String::new();
    while let Some(line) = lines.get(at) {
        let trimmed = line.trim();
        at += 1;
        if at > start + 1 {
            // Comments and empty lines do not end a continued instruction.
            if let Some(comment) = trimmed.strip_prefix('#') {
                comments.push(comment.trim().to_owned());
                continue;
            }
            if trimmed.is_empty() {
                continue;
            }
        }
        match line.trim_end().strip_suffix(escape) {
            Some(begun) => whole.push_str(&joined(&whole, begun)),
            None => {
                whole.push_str(&joined(&whole, line));
                break;
            }
        }
    }
    let failed = |message: String| DockerfileError::Line {
        line: start + 1,
        message,
    };
    let whole = whole.trim();
    let (keyword, rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
    let keyword = keyword.to_ascii_uppercase();
    if !KEYWORDS.contains(&keyword.as_str()) {
        return Err(failed(format!("`{keyword}` is no instruction")));
    }
    let (flags, arguments) = flags(rest.trim());
    let mut heredocs = Vec::new();
    if matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") {
        for (name, strip, expands) in heredoc_names(&arguments) {
            let (body, next) = heredoc_body(lines, at, &name, strip)
                .ok_or_else(|| failed(format!("the heredoc `{name}` does not end")))?;
            heredocs.push(Heredoc { name, body, expands });
            at = next;
        }
    }
    let instruction = Instruction {
        line: start + 1,
        keyword,
        flags,
        arguments,
        heredocs,
        comments,
    };
    Ok((instruction, at))
}

/// A continued line with one space where lines were joined.
fn joined(before: &str, line: &str) -> String {
    let line = line.trim();
    if before.is_empty() || line.is_empty() {
        line.to_owned()
    } else {
        format!(" {line}")
    }
}

fn flags(mut rest: &str) -> (Vec<(String, String)>, String) {
    let mut flags = Vec::new();
    while let Some(after) = rest.strip_prefix("--") {
        let (flag, more) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        flags.push((name.to_owned(), value.trim_matches('"').to_owned()));
        rest = more.trim_start();
    }
    (flags, rest.to_owned())
}

/// The heredocs that arguments announce: name, whether tabs are dropped, whether variables count.
fn heredoc_names(arguments: &str) -> Vec<(String, bool, bool)> {
    let mut names = Vec::new();
    for word in arguments.split_whitespace() {
        // A file descriptor may stand before it; `<<<` is another thing.
        let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(rest) = word.strip_prefix("<<").filter(|rest| !rest.starts_with('<')) else {
            continue;
        };
        let (strip, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let name = rest.trim_matches(['"', '\'']);
        let is_name = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if is_name {
            names.push((name.to_owned(), strip, name.len() == rest.len()));
        }
    }
    names
}

fn heredoc_body(lines: &[&str], start: usize, name: &str, strip: bool) -> Option<(String, usize)> {
    let mut body = String::new();
    for (at, line) in lines.iter().enumerate().skip(start) {
        let line = if strip {
            line.trim_start_matches('\t')
        } else {
            line
        };
        if line == name {
            return Some((body, at + 1));
        }
        body.push_str(line);
        body.push('\n');
    }
    None
}
