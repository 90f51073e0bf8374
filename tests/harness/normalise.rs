//! Texts without what differs from run to run: paths, ports, times; and digests by number, so that one can see which
//! are the same.

use std::path::{Path, PathBuf};

/// What is replaced, and the digests seen so far.
#[derive(Debug, Clone)]
pub(crate) struct Normaliser {
    root: PathBuf,
    digests: Vec<String>,
    keys: Vec<String>,
}

impl Normaliser {
    /// Replaces `root` by `[ROOT]`.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            digests: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// The text as it is in every run.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let text = text.replace(&*self.root.to_string_lossy(), "[ROOT]");
        let text = numbered(&text, "sha256:", &mut self.digests, |c| c.is_ascii_hexdigit());
        let text = numbered(&text, "SHA256:", &mut self.keys, |c| {
            c.is_ascii_alphanumeric() || c == '+' || c == '/'
        });
        let text = patterns(&text, "0000-00-00T00:00:00Z", "[TIME]");
        let text = patterns(&text, "0000-00-00 00:00", "[TIME]");
        let text = ports(&text);
        durations(&text)
    }
}

/// Replaces what follows `prefix` by the number of the first text that it begins or that begins with it.
fn numbered(text: &str, prefix: &str, seen: &mut Vec<String>, of: fn(char) -> bool) -> String {
    let mut parts = text.split(prefix);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c| !of(c)).unwrap_or(part.len());
        let (value, rest) = part.split_at(end);
        result.push_str(prefix);
        if value.is_empty() {
            result.push_str(part);
            continue;
        }
        let known = seen
            .iter()
            .position(|one| one.starts_with(value) || value.starts_with(one.as_str()));
        let number = known.unwrap_or(seen.len());
        match known {
            None => seen.push(value.to_owned()),
            // The longest form is the one to compare with.
            Some(known) if seen[known].len() < value.len() => value.clone_into(&mut seen[known]),
            Some(_) => {}
        }
        result.push_str(&format!("[{}]", number + 1));
        result.push_str(rest);
    }
    result
}

/// Replaces what has the shape of `pattern`, in which 0 stands for any decimal digit.
fn patterns(text: &str, pattern: &str, by: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if fits(rest, pattern) {
            result.push_str(by);
            rest = &rest[pattern.len()..];
        } else {
            result.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    result
}

fn fits(text: &str, pattern: &str) -> bool {
    text.len() >= pattern.len()
        && pattern.bytes().zip(text.bytes()).all(|(want, found)| match want {
            b'0' => found.is_ascii_digit(),
            want => want == found,
        })
}

fn ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        result.push_str("127.0.0.1:[PORT]");
        result.push_str(rest);
    }
    result
}

/// `0.04 s`, `8 s ago`
fn durations(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let seconds = |word: Option<&&str>| word.is_some_and(|word| unit(word));
    let number = |word: &str| word.parse::<f64>().is_ok();
    let shown = words.iter().enumerate().map(|(index, word)| {
        if number(word) && seconds(words.get(index + 1)) {
            "[N]"
        } else {
            word
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Whether a word is `s`, whatever punctuation follows.
fn unit(word: &str) -> bool {
    word.strip_prefix('s')
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
}

#[test]
fn what_differs_from_run_to_run_is_replaced_and_nothing_else() {
    let mut normaliser = Normaliser::new(Path::new("/tmp/x"));
    let text = "wrote /tmp/x/a at 2026-11-21 10:02 in 0.04 s; sha256:abcdef01 and sha256:abcd… and sha256:99\n\
                http://127.0.0.1:4711/v2, 8 s ago, 3 seas, 2026-11-21T10:02:03Z, key SHA256:Yk+/3";
    assert_eq!(
        normaliser.text(text),
        "wrote [ROOT]/a at [TIME] in [N] s; sha256:[1] and sha256:[1]… and sha256:[2]\n\
         http://127.0.0.1:[PORT]/v2, [N] s ago, 3 seas, [TIME], key SHA256:[1]"
    );
    assert_eq!(normaliser.text("sha256:99"), "sha256:[2]");
}
