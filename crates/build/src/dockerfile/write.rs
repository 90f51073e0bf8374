//! Writes a draft as TOML.

use std::fmt::Write as _;

use super::draft::{Block, Copy, Directory, Draft, Fetch, Group, Layer, User, Write};

/// A text as TOML's basic string: nothing in it can end it or reach a terminal.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_unsafe(c) && u32::from(c) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c if is_unsafe(c) => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of texts in one line.
pub(super) fn list<S: AsRef<str>>(texts: &[S]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", texts.join(", "))
}

/// A key of a table: bare if it can be.
fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if bare { name.to_owned() } else { quoted(name) }
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn comments(out: &mut String, lines: &[String]) {
    for text in lines {
        for line in text.split('\n') {
            out.push('#');
            if !line.is_empty() {
                out.push(' ');
            }
            for c in line.chars() {
                if c == '\t' {
                    out.push_str("    ");
                } else if is_unsafe(c) {
                    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
                } else {
                    out.push(c);
                }
            }
            out.push('\n');
        }
    }
}

/// `name = value` lines with the equals signs below each other.
fn pairs(out: &mut String, pairs: &[(String, String, Vec<String>)]) {
    let width = pairs
        .iter()
        .map(|(name, _, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, value, above) in pairs {
        comments(out, above);
        let _ = writeln!(out, "{name:<width$} = {value}");
    }
}

fn pair(name: &str, value: String) -> (String, String, Vec<String>) {
    (name.to_owned(), value, Vec::new())
}

pub(super) fn spec(draft: &Draft) -> String {
    let mut out = String::new();
    comments(&mut out, &draft.head);
    out.push_str("\n[image]\n");
    pairs(
        &mut out,
        &[
            pair("name", quoted(&draft.name)),
            pair("platforms", list(&draft.platforms)),
        ],
    );
    base(&mut out, draft);
    for group in &draft.groups {
        write_group(&mut out, group);
    }
    for user in &draft.users {
        write_user(&mut out, user);
    }
    for block in &draft.blocks {
        out.push('\n');
        match block {
            Block::Note(lines) => comments(&mut out, lines),
            Block::Layer(layer) => write_layer(&mut out, layer),
        }
    }
    config(&mut out, draft);
    if !draft.tail.is_empty() {
        out.push('\n');
        comments(&mut out, &draft.tail);
    }
    out
}

fn base(out: &mut String, draft: &Draft) {
    out.push('\n');
    comments(out, &draft.base.comments);
    if let Some(image) = &draft.base.value {
        out.push_str("[base]\n");
        pairs(
            out,
            &[
                pair("image", quoted(image)),
                pair("inherit", list(&draft.inherit)),
            ],
        );
    }
}

fn write_group(out: &mut String, group: &Group) {
    out.push_str("\n[[group]]\n");
    pairs(
        out,
        &[
            pair("name", quoted(&group.name)),
            pair("gid", group.gid.to_string()),
        ],
    );
}

fn write_user(out: &mut String, user: &User) {
    out.push('\n');
    comments(out, &user.comments);
    out.push_str("[[user]]\n");
    let mut lines = vec![
        pair("name", quoted(&user.name)),
        pair("uid", user.uid.to_string()),
    ];
    lines.extend(user.gid.map(|gid| pair("gid", gid.to_string())));
    if !user.groups.is_empty() {
        lines.push(pair("groups", list(&user.groups)));
    }
    lines.extend(user.home.as_ref().map(|home| pair("home", quoted(home))));
    lines.extend(user.shell.as_ref().map(|shell| pair("shell", quoted(shell))));
    pairs(out, &lines);
}

fn write_layer(out: &mut String, layer: &Layer) {
    comments(out, &layer.comments);
    out.push_str("[[layer]]\n");
    let mut lines = vec![pair("name", quoted(&layer.name))];
    let tables: [(&str, Vec<String>); 5] = [
        ("copy", layer.copies.iter().map(copy).collect()),
        ("write", layer.writes.iter().map(write).collect()),
        ("fetch", layer.fetches.iter().map(fetch).collect()),
        (
            "link",
            layer
                .links
                .iter()
                .map(|(from, to)| inline(&[("from", Some(quoted(from))), ("to", Some(quoted(to)))]))
                .collect(),
        ),
        ("dir", layer.directories.iter().map(directory).collect()),
    ];
    for (name, tables) in tables {
        match &tables[..] {
            [] => {}
            [one] => lines.push(pair(name, format!("[{one}]"))),
            many => lines.push(pair(name, format!("[\n  {},\n]", many.join(",\n  ")))),
        }
    }
    pairs(out, &lines);
}

/// A table in one line.
fn inline(members: &[(&str, Option<String>)]) -> String {
    let members: Vec<String> = members
        .iter()
        .filter_map(|(name, value)| Some(format!("{name} = {}", value.as_ref()?)))
        .collect();
    format!("{{ {} }}", members.join(", "))
}

pub(super) fn copy(copy: &Copy) -> String {
    let exclude = (!copy.exclude.is_empty()).then(|| list(&copy.exclude));
    inline(&[
        ("from", Some(quoted(&copy.from))),
        ("to", Some(quoted(&copy.to))),
        ("mode", copy.mode.as_deref().map(quoted)),
        ("owner", copy.owner.as_deref().map(quoted)),
        ("exclude", exclude),
    ])
}

pub(super) fn fetch(fetch: &Fetch) -> String {
    inline(&[
        ("url", Some(quoted(&fetch.url))),
        ("to", Some(quoted(&fetch.to))),
        ("mode", fetch.mode.as_deref().map(quoted)),
        ("owner", fetch.owner.as_deref().map(quoted)),
        ("sha256", Some(quoted(&fetch.sha256))),
    ])
}

fn write(write: &Write) -> String {
    inline(&[
        ("to", Some(quoted(&write.to))),
        ("text", Some(quoted(&write.text))),
        ("mode", write.mode.as_deref().map(quoted)),
        ("owner", write.owner.as_deref().map(quoted)),
    ])
}

fn directory(directory: &Directory) -> String {
    inline(&[
        ("to", Some(quoted(&directory.to))),
        ("mode", directory.mode.as_deref().map(quoted)),
        ("owner", directory.owner.as_deref().map(quoted)),
    ])
}

fn config(out: &mut String, draft: &Draft) {
    if !draft.config.is_empty() || !draft.config_notes.is_empty() {
        out.push('\n');
        comments(out, &draft.config_notes);
    }
    if !draft.config.is_empty() {
        out.push_str("[config]\n");
        let lines: Vec<_> = draft
            .config
            .iter()
            .map(|(key, entry)| (key.name().to_owned(), entry.value.clone(), entry.comments.clone()))
            .collect();
        pairs(out, &lines);
    }
    if let Some(health) = &draft.health {
        out.push('\n');
        comments(out, &health.comments);
        out.push_str("[config.healthcheck]\n");
        let options = health
            .options
            .iter()
            .map(|(name, value)| pair(name, value.clone()));
        let lines: Vec<_> = std::iter::once(pair("test", health.test.clone()))
            .chain(options)
            .collect();
        pairs(out, &lines);
    }
    for (title, map) in [("env", &draft.env), ("labels", &draft.labels)] {
        if map.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n[config.{title}]");
        let lines: Vec<_> = map
            .iter()
            .map(|(name, entry)| (key(name), quoted(&entry.value), entry.comments.clone()))
            .collect();
        pairs(out, &lines);
    }
}
