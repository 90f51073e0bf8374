//! `tmpfiles.d` of packages: directories, links and short files that a running system would make at its start
//! (tmpfiles.d(5)).
//!
//! Done are `d`, `D`, `q`, `Q`, `v`, `L` and `f`, where nothing is yet. What changes or removes what is there, copies,
//! or names something that only a running system knows (`%…`) is left out.

use cairn_layer::{Attributes, Node};

use super::AssembleError;
use super::accounts::{Accounts, absolute};
use super::words::{given, lines, words};
use super::world::{Owner, World, link, text};

pub(super) fn apply(world: &mut World<'_>, accounts: &Accounts) -> Result<(), AssembleError> {
    for file in world.files_in("usr/lib/tmpfiles.d", ".conf") {
        let owner = world.files.get(&file).and_then(|placed| placed.owner);
        let content = world.read(&file)?.unwrap_or_default();
        for (line, content) in lines(&String::from_utf8_lossy(&content)) {
            let words = words(content).ok_or_else(|| AssembleError::Line {
                path: file.clone(),
                line,
            })?;
            make(world, accounts, owner, &words);
        }
    }
    Ok(())
}

fn make(world: &mut World<'_>, accounts: &Accounts, owner: Owner, words: &[String]) {
    let kind = words.first().and_then(|kind| kind.chars().next());
    let Some((kind, path)) = kind.zip(given(words, 1).and_then(absolute)) else {
        return;
    };
    let mode = given(words, 2).map(|mode| mode.trim_start_matches(['~', ':']));
    let mode = mode
        .and_then(|mode| u32::from_str_radix(mode, 8).ok())
        .map(|mode| mode & 0o7777);
    // Somebody who is not in the image owns nothing.
    let uid = given(words, 3).map(|name| name.trim_start_matches(':'));
    let uid = uid.and_then(|name| accounts.uid(name)).unwrap_or(0);
    let gid = given(words, 4).map(|name| name.trim_start_matches(':'));
    let gid = gid.and_then(|name| accounts.gid(name)).unwrap_or(0);
    let argument = words.get(6..).map(|words| words.join(" ")).unwrap_or_default();
    let attributes = |otherwise| Attributes {
        mode: mode.unwrap_or(otherwise),
        uid,
        gid,
        ..Attributes::default()
    };
    match kind {
        'd' | 'D' | 'q' | 'Q' | 'v' => world.add_directory(owner, &path, attributes(0o755)),
        'L' if !argument.is_empty() && !argument.contains('%') => {
            world.add(owner, &path, link(argument.as_bytes()));
        }
        'f' if !argument.contains('%') => {
            let Node::File { source, .. } = text(unescaped(&argument)) else {
                return;
            };
            let attributes = attributes(0o644);
            world.add(owner, &path, Node::File { attributes, source });
        }
        _ => {}
    }
}

/// An argument with the escapes that matter in short files.
fn unescaped(argument: &str) -> String {
    argument.replace("\\n", "\n").replace("\\t", "\t")
}
