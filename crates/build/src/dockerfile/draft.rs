//! A spec in the making.

use std::collections::{BTreeMap, BTreeSet};

/// What a Dockerfile says, in the order of a spec. Comments are lines without `#`.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) head: Vec<String>,
    pub(super) platforms: Vec<String>,
    pub(super) base: Entry<Option<String>>,
    pub(super) inherit: Vec<&'static str>,
    pub(super) groups: Vec<Group>,
    pub(super) users: Vec<User>,
    pub(super) blocks: Vec<Block>,
    /// Plain keys of `[config]`, each as TOML.
    pub(super) config: BTreeMap<Key, Entry<String>>,
    pub(super) env: BTreeMap<String, Entry<String>>,
    pub(super) labels: BTreeMap<String, Entry<String>>,
    /// Ports with their protocols.
    pub(super) ports: Entry<BTreeSet<(u32, String)>>,
    pub(super) volumes: BTreeSet<String>,
    pub(super) health: Option<Health>,
    /// Comments that belong to `[config]`.
    pub(super) config_notes: Vec<String>,
    pub(super) tail: Vec<String>,
}

/// A value and the comments above it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry<T> {
    pub(super) comments: Vec<String>,
    pub(super) value: T,
}

/// `[config.healthcheck]`: values as TOML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) comments: Vec<String>,
    pub(super) test: String,
    pub(super) options: BTreeMap<String, String>,
}

/// Keys of `[config]`, in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Entrypoint,
    Cmd,
    Workdir,
    User,
    Expose,
    Volumes,
    StopSignal,
}

impl Key {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Entrypoint => "entrypoint",
            Self::Cmd => "cmd",
            Self::Workdir => "workdir",
            Self::User => "user",
            Self::Expose => "expose",
            Self::Volumes => "volumes",
            Self::StopSignal => "stop-signal",
        }
    }
}

/// `[[user]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) comments: Vec<String>,
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: Option<u32>,
    pub(super) groups: Vec<String>,
    pub(super) home: Option<String>,
    pub(super) shell: Option<String>,
}

/// `[[group]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) gid: u32,
}

/// What stands between users and configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    Note(Vec<String>),
    Layer(Layer),
}

/// `[[layer]]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) comments: Vec<String>,
    pub(super) name: String,
    pub(super) copies: Vec<Copy>,
    pub(super) writes: Vec<Write>,
    pub(super) fetches: Vec<Fetch>,
    pub(super) links: Vec<(String, String)>,
    pub(super) directories: Vec<Directory>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) mode: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) exclude: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) to: String,
    pub(super) text: String,
    pub(super) mode: Option<String>,
    pub(super) owner: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) url: String,
    pub(super) to: String,
    pub(super) sha256: String,
    pub(super) mode: Option<String>,
    pub(super) owner: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) to: String,
    pub(super) mode: Option<String>,
    pub(super) owner: Option<String>,
}

impl Draft {
    /// A layer with a name that no other has.
    pub(super) fn layer(&mut self, wish: &str, comments: Vec<String>) -> &mut Layer {
        let mut wish: String = wish
            .to_lowercase()
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' {
                    c
                } else {
                    '-'
                }
            })
            .take(48)
            .collect();
        wish = wish.trim_matches(['-', '.']).to_owned();
        if wish.is_empty() || wish == "users" {
            wish = "files".to_owned();
        }
        let taken = |name: &str| self.layers().any(|layer| layer.name == name);
        let mut name = wish.clone();
        let mut number = 2;
        while taken(&name) {
            name = format!("{wish}-{number}");
            number += 1;
        }
        self.blocks.push(Block::Layer(Layer {
            name,
            comments,
            ..Layer::default()
        }));
        match self.blocks.last_mut() {
            Some(Block::Layer(layer)) => layer,
            _ => unreachable!("a layer was pushed right above"),
        }
    }

    pub(super) fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Layer(layer) => Some(layer),
            Block::Note(_) => None,
        })
    }

    pub(super) fn layers_mut(&mut self) -> impl Iterator<Item = &mut Layer> {
        self.blocks.iter_mut().filter_map(|block| match block {
            Block::Layer(layer) => Some(layer),
            Block::Note(_) => None,
        })
    }

    pub(super) fn note(&mut self, lines: Vec<String>) {
        if !lines.is_empty() {
            self.blocks.push(Block::Note(lines));
        }
    }
}
