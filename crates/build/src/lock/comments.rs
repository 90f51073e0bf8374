//! Carries the comments of people from one text of a lock to the next.
//!
//! Both texts are read line by line, with just as much TOML as it takes to tell a comment from a `#` in a string, and an
//! element of a list from a key. Time and memory are linear in the texts, which have a bound.

use std::collections::BTreeMap;

use super::writer::HEADER;

/// The keys that tell the tables of an array from each other.
const IDENTITIES: [&str; 3] = ["platform", "url", "layer"];

/// Which line it is, in whichever text: its table, its key, its element, and how many lines were called the same before.
type Name = (String, usize);

/// What people wrote to a line.
#[derive(Default)]
struct Comments<'t> {
    above: Vec<&'t str>,
    at_end: Option<&'t str>,
}

/// A line of TOML that is more than a comment.
struct Line<'t> {
    text: &'t str,
    name: Name,
    comments: Comments<'t>,
}

/// `after` with the comments of `before`, each at the line of the same name. `after` has no comments but the header.
pub(super) fn carry(before: &str, after: &str) -> String {
    let (lines, last) = lines(before);
    let mut comments: BTreeMap<Name, Comments<'_>> =
        lines.into_iter().map(|line| (line.name, line.comments)).collect();
    let mut names = self::lines(after).0.into_iter().peekable();
    let mut text = String::with_capacity(after.len());
    for line in after.lines() {
        let named = names.next_if(|named| std::ptr::eq(named.text.as_ptr(), line.as_ptr()));
        let found = named.and_then(|named| comments.remove(&named.name));
        let Comments { above, at_end } = found.unwrap_or_default();
        above.iter().for_each(|comment| push_line(&mut text, comment));
        text.push_str(line);
        if let Some(comment) = at_end {
            text.push(' ');
            text.push_str(comment);
        }
        text.push('\n');
    }
    last.iter().for_each(|comment| push_line(&mut text, comment));
    text
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// The lines that say something, and the comments after the last of them.
fn lines(text: &str) -> (Vec<Line<'_>>, Vec<&str>) {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut pending = Vec::new();
    let mut state = State::default();
    for whole in text.lines() {
        let is_inside = state.depth > 0;
        let in_string = state.string.is_some();
        let (said, comment) = state.read(whole);
        if said.trim().is_empty() && !in_string {
            // The file's own header is in every text.
            pending.extend(comment.filter(|comment| *comment != HEADER.trim_end()));
            continue;
        }
        lines.push(Line {
            text: whole,
            name: (local_name(said, is_inside || in_string), 0),
            comments: Comments {
                above: std::mem::take(&mut pending),
                at_end: comment,
            },
        });
    }
    name_within_tables(&mut lines);
    (lines, pending)
}

/// `[` for a table, `=` for a key, `-` for what stands in a list, each with what tells it from its neighbours.
fn local_name(said: &str, is_inside: bool) -> String {
    let said = said.trim();
    if is_inside {
        return format!("-{}", element(said.trim_end_matches(',')));
    }
    match said.split_once('=') {
        _ if said.starts_with('[') => said.to_owned(),
        Some((key, _)) => format!("={}", key.trim()),
        None => format!("-{said}"),
    }
}

/// An element without what may change while it stays the same thing: of a table in braces, the first field.
fn element(said: &str) -> &str {
    let mut state = State::default();
    let comma = said
        .starts_with('{')
        .then(|| state.find(said, |state, byte| byte == b',' && state.depth == 1));
    comma.flatten().map_or(said, |comma| &said[..comma])
}

/// Puts table and key before each line's name, and a number after it if there are several.
fn name_within_tables(lines: &mut [Line<'_>]) {
    let is_header = |line: &Line<'_>| line.name.0.starts_with('[');
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut start = 0;
    while start < lines.len() {
        let after = lines[start + 1..].iter().position(is_header);
        let end = after.map_or(lines.len(), |after| start + 1 + after);
        let table = table_name(&lines[start..end]);
        let mut key = String::new();
        for line in &mut lines[start..end] {
            let local = std::mem::take(&mut line.name.0);
            let name = match local.as_bytes().first() {
                Some(b'[') => table.clone(),
                Some(b'=') => {
                    key.clone_from(&local);
                    format!("{table}\n{key}")
                }
                _ => format!("{table}\n{key}\n{local}"),
            };
            let count = seen.entry(name.clone()).or_default();
            line.name = (name, *count);
            *count += 1;
        }
        start = end;
    }
}

/// The header, and the lines that tell this table from others with the same.
fn table_name(lines: &[Line<'_>]) -> String {
    let header = lines.first().map(|line| line.name.0.as_str());
    let mut name = header
        .filter(|header| header.starts_with('['))
        .unwrap_or_default()
        .to_owned();
    if !name.starts_with("[[") {
        return name;
    }
    for line in lines {
        let local = line.name.0.strip_prefix('=');
        if local.is_some_and(|key| IDENTITIES.contains(&key)) {
            let said = State::default().read(line.text).0;
            let value = said.split_once('=').map_or("", |(_, value)| value.trim());
            name.push('\n');
            name.push_str(value);
        }
    }
    name
}

/// Where in a TOML document a reader is.
#[derive(Default)]
struct State {
    /// How many brackets and braces are open.
    depth: usize,
    /// The quotes of the string that is open: one character, or three of it.
    string: Option<&'static str>,
}

impl State {
    /// Reads a line: what it says, and its comment.
    fn read<'t>(&mut self, line: &'t str) -> (&'t str, Option<&'t str>) {
        let hash = self.find(line, |state, byte| byte == b'#' && state.string.is_none());
        // Strings of one quote end with the line, in TOML that is right.
        self.string = self.string.filter(|quotes| quotes.len() == 3);
        match hash {
            Some(at) => (&line[..at], Some(line[at..].trim_end())),
            None => (line, None),
        }
    }

    /// The first byte outside strings that is `wanted`; else the line is read to its end.
    fn find(&mut self, line: &str, wanted: impl Fn(&Self, u8) -> bool) -> Option<usize> {
        let bytes = line.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.string.is_none() && wanted(self, byte) {
                return Some(at);
            }
            at += self.step(&bytes[at..]);
        }
        None
    }

    /// Takes what comes next: how many bytes it has.
    fn step(&mut self, rest: &[u8]) -> usize {
        if let Some(quotes) = self.string {
            if quotes.starts_with('"') && rest.first() == Some(&b'\\') {
                return 2;
            }
            if !rest.starts_with(quotes.as_bytes()) {
                return 1;
            }
            self.string = None;
            // A string of three quotes may end in one or two of its own.
            let more = rest.iter().skip(3).take(2);
            let own = more.take_while(|byte| **byte == rest[0]).count();
            return quotes.len() + if quotes.len() == 3 { own } else { 0 };
        }
        let opened = ["\"\"\"", "'''", "\"", "'"];
        if let Some(quotes) = opened
            .into_iter()
            .find(|quotes| rest.starts_with(quotes.as_bytes()))
        {
            self.string = Some(quotes);
            return quotes.len();
        }
        match rest.first() {
            Some(b'[' | b'{') => self.depth += 1,
            Some(b']' | b'}') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        1
    }
}
