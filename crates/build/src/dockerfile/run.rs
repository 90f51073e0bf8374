//! What the commands of a `RUN` do, and what to do instead.

use super::draft::{Group, User};
use super::words::{self, Variables};
use crate::spec::ID_LIMIT;
use crate::spec::values::{account_name, account_path};

/// What becomes of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It has to be done by somebody else.
    Say(String),
    /// It has no meaning in a build without containers.
    Nothing(String),
    /// `useradd`, with a number, and the name of its group.
    User { user: User, group: Option<String> },
    /// `groupadd`, with a number.
    Group(Group),
    /// `mkdir`
    Directory { to: String, mode: Option<String> },
    /// `ln -s`
    Link { from: String, to: String },
    /// `chown`
    Owner {
        path: String,
        owner: String,
        recursive: bool,
    },
    /// `chmod` with a number.
    Mode { path: String, mode: String },
}

/// One command: its words, and whether all of them are known.
struct Command {
    words: Vec<String>,
    certain: bool,
}

impl Command {
    fn flag(&self, names: &[&str]) -> Option<&str> {
        for (at, word) in self.words.iter().enumerate() {
            if names.contains(&word.as_str()) {
                return self.words.get(at + 1).map(String::as_str);
            }
            let long = names
                .iter()
                .find_map(|name| word.strip_prefix(name)?.strip_prefix('='));
            if long.is_some() {
                return long;
            }
        }
        None
    }

    /// The words that are neither flags nor among the values of `valued` flags.
    fn operands(&self, valued: &[&str]) -> Vec<&str> {
        let mut operands = Vec::new();
        let mut words = self.words.iter().skip(1);
        while let Some(word) = words.next() {
            if valued.contains(&word.as_str()) {
                words.next();
            } else if !word.starts_with('-') {
                operands.push(word.as_str());
            }
        }
        operands
    }

    fn has(&self, flags: &[&str]) -> bool {
        self.words.iter().any(|word| flags.contains(&word.as_str()))
    }
}

/// Looks at a script.
pub(super) fn steps(script: &str, variables: &Variables, workdir: &str, escape: char) -> Vec<Step> {
    let conditional = is_conditional(script);
    let mut steps: Vec<Step> = Vec::new();
    for command in commands(script, variables, escape) {
        for step in command_steps(&command, workdir) {
            // What happens in a loop or a branch is for a person to say.
            let step = match step {
                Step::Say(_) | Step::Nothing(_) => step,
                _ if conditional || !command.certain => {
                    Step::Say(format!("`{}`: write it by hand", command.words.join(" ")))
                }
                step => step,
            };
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
    }
    steps
}

fn is_conditional(script: &str) -> bool {
    let has_word = |wanted: &str| script.split_whitespace().any(|word| word == wanted);
    script.contains("||")
        || script.contains(['(', '`', '{'])
        || ["if", "for", "while", "case"].into_iter().any(has_word)
}

/// The commands of a script: what stands between `&&`, `||`, `;`, `|` and ends of lines.
pub(super) fn pieces(script: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut quote = None;
    let mut characters = script.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, ';' | '|' | '\n') => {
                pieces.push(std::mem::take(&mut piece));
                continue;
            }
            (None, '&') if characters.peek() == Some(&'&') => {
                characters.next();
                pieces.push(std::mem::take(&mut piece));
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (_, '\\') => {
                piece.push(c);
                piece.extend(characters.next());
                continue;
            }
            _ => {}
        }
        piece.push(c);
    }
    pieces.push(piece);
    pieces.retain_mut(|piece| {
        *piece = piece.trim().to_owned();
        !piece.is_empty() && !piece.starts_with('#')
    });
    pieces
}

fn commands(script: &str, variables: &Variables, escape: char) -> Vec<Command> {
    let mut commands = Vec::new();
    for piece in pieces(script) {
        let mut certain = !piece.contains('>');
        let mut words = Vec::new();
        for word in words::split(&piece, escape) {
            let expanded = words::expand(&word, variables, escape);
            certain &= expanded
                .as_ref()
                .is_some_and(|word| word.unknown.is_empty() && !word.text.contains('$'));
            let unknown = expanded.as_ref().is_none_or(|word| !word.unknown.is_empty());
            words.push(if unknown {
                word
            } else {
                expanded.map(|word| word.text).unwrap_or_default()
            });
        }
        let is_prefix = |word: &String| {
            let assignment = word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            });
            assignment
                || matches!(
                    word.as_str(),
                    "sudo" | "exec" | "then" | "do" | "else" | "!" | "time"
                )
        };
        let start = words
            .iter()
            .position(|word| !is_prefix(word))
            .unwrap_or(words.len());
        words.drain(..start);
        if !words.is_empty() {
            commands.push(Command { words, certain });
        }
    }
    commands
}

fn command_steps(command: &Command, workdir: &str) -> Vec<Step> {
    let program = command.words.first().map_or("", String::as_str);
    let program = program.rsplit('/').next().unwrap_or(program);
    let verb = command.words.get(1).map_or("", String::as_str);
    let say = |text: &str| vec![Step::Say(text.to_owned())];
    match program {
        "apt-get" | "apt" | "apk" | "dnf" | "yum" | "microdnf" | "zypper" | "tdnf" => packages(command),
        "pip" | "pip3" | "pipenv" | "poetry" | "uv" => say(
            "install the Python packages into a directory in CI (pip install --target wheels …), and `copy` it",
        ),
        "python" | "python3" if command.words.iter().any(|word| word == "pip") => say(
            "install the Python packages into a directory in CI (pip install --target wheels …), and `copy` it",
        ),
        "npm" | "yarn" | "pnpm" if matches!(verb, "ci" | "install" | "i" | "add" | "") => {
            say("make node_modules in CI (npm ci --omit=dev), and `copy` it")
        }
        "npm" | "yarn" | "pnpm" | "npx" => say("run this in CI, and `copy` what it makes"),
        "bundle" | "gem" => say(
            "install the gems in CI (bundle config set --local deployment true; bundle install), and `copy` vendor/bundle",
        ),
        "composer" => say("make vendor/ in CI (composer install --no-dev), and `copy` it"),
        "go" | "cargo" | "mvn" | "mvnw" | "gradle" | "gradlew" | "dotnet" | "make" | "cmake" | "gcc"
        | "cc" | "g++" | "javac" | "rustup" | "rustc" | "ninja" | "meson" | "sbt" | "ng" | "tsc" => {
            say("build this in CI, and `copy` the artefact")
        }
        "useradd" | "adduser" => user(command),
        "groupadd" | "addgroup" => group(command),
        "usermod" => say("give the user its groups and its shell in [[user]]"),
        "mkdir" | "install" if program == "mkdir" || command.has(&["-d"]) => directories(command, workdir),
        "chown" | "chgrp" if program == "chown" => owners(command, workdir),
        "chmod" => modes(command, workdir),
        "ln" => link(command, workdir),
        "rm" | "rmdir" => removals(command, workdir),
        "curl" | "wget" => download(command),
        "tar" | "unzip" | "gunzip" | "unxz" => {
            say("unpack it in CI, and `copy` the directory; or `fetch` it with extract = true")
        }
        "echo" | "printf" | "cat" | "tee" | "touch" => say("write the file with `write`, or `copy` it"),
        "sed" | "awk" | "patch" | "perl" | "envsubst" => {
            say("change the file in your sources, and `copy` the result over it")
        }
        "cp" | "mv" | "install" => say("put the files where they belong with `copy`"),
        "update-ca-certificates" => say(
            "put the certificates into one bundle in CI, and `copy` it to /etc/ssl/certs/ca-certificates.crt",
        ),
        "setcap" => say("give the file its capability with `capabilities` in `copy`"),
        "docker-php-ext-install"
        | "docker-php-ext-configure"
        | "docker-php-ext-enable"
        | "pecl"
        | "a2enmod" => say("use a base that has the extension: build one in CI"),
        "git" => say("check it out in CI, and `copy` it"),
        "sh" | "bash" => say("run the script in CI, and `copy` what it makes"),
        "set" | "cd" | "true" | ":" | "export" | "fi" | "done" | "esac" | "if" | "for" | "while" | "case"
        | "[" | "test" | "ldconfig" | "sync" => Vec::new(),
        _ if program.ends_with("--version") || command.has(&["--version", "-version"]) => {
            vec![Step::Nothing("it changes nothing".to_owned())]
        }
        _ => vec![Step::Say(format!(
            "`{program}`: no command is run in a build; do it in CI, and `copy` what it makes"
        ))],
    }
}

fn packages(command: &Command) -> Vec<Step> {
    let operands = command.operands(&["-t", "--virtual", "--repository", "-X"]);
    match operands.split_first() {
        Some((&("install" | "add" | "localinstall" | "groupinstall"), names)) if !names.is_empty() => {
            vec![Step::Say(format!(
                "packages are not installed by a build yet: use a base that has {}",
                names.join(", ")
            ))]
        }
        Some((&("install" | "add"), _)) => {
            vec![Step::Say(
                "packages are not installed by a build yet: use a base that has them".to_owned(),
            )]
        }
        Some((&("upgrade" | "dist-upgrade" | "full-upgrade"), _)) => {
            vec![Step::Say("take a newer base: cairn lock --update".to_owned())]
        }
        Some((&("remove" | "purge" | "del" | "erase" | "autoremove"), _)) => vec![Step::Nothing(
            "what is not installed need not be removed".to_owned(),
        )],
        _ => vec![Step::Nothing(
            "a build has no lists and no cache of packages".to_owned(),
        )],
    }
}

const USER_VALUES: [&str; 20] = [
    "-u",
    "--uid",
    "-g",
    "--gid",
    "-G",
    "--groups",
    "--ingroup",
    "-d",
    "--home-dir",
    "--home",
    "-h",
    "-s",
    "--shell",
    "-c",
    "--comment",
    "--gecos",
    "-k",
    "-b",
    "-K",
    "--base-dir",
];

fn user(command: &Command) -> Vec<Step> {
    let is_adduser = command
        .words
        .first()
        .is_some_and(|word| word.ends_with("adduser"));
    let mut operands = command.operands(&USER_VALUES);
    // BusyBox: `adduser -S -G group name`; Debian: `adduser name group` adds to a group.
    let Some(name) = operands.pop().filter(|_| operands.is_empty()) else {
        return vec![Step::Say("say it with [[user]]".to_owned())];
    };
    let Ok(name) = account_name(name) else {
        return vec![Step::Say("say it with [[user]]".to_owned())];
    };
    let id = |flags: &[&str]| {
        command
            .flag(flags)
            .and_then(|text| text.parse().ok())
            .filter(|id| *id < ID_LIMIT)
    };
    let Some(uid) = id(&["-u", "--uid"]) else {
        return vec![Step::Say(format!(
            "CHECK: give the user a number of your choice, as in [[user]] name = \"{name}\", uid = 10001"
        ))];
    };
    let home_flags: &[&str] = if is_adduser {
        &["-h", "--home"]
    } else {
        &["-d", "--home-dir", "--home"]
    };
    let path = |flags: &[&str]| command.flag(flags).and_then(|text| account_path(text).ok());
    let without_home = command.has(&["--no-create-home", "-M", "-H"]);
    let home = path(home_flags).or_else(|| (!without_home).then(|| format!("/home/{name}")));
    let names = |flags: &[&str]| {
        let listed = command.flag(flags).unwrap_or_default().split(',');
        listed
            .filter_map(|name| account_name(name).ok())
            .collect::<Vec<_>>()
    };
    // To BusyBox's `adduser`, `-G` is the group; to `useradd`, what else the user is in.
    let (group, groups) = if is_adduser {
        (names(&["-G", "--ingroup"]), Vec::new())
    } else {
        (names(&["-g", "--gid"]), names(&["-G", "--groups"]))
    };
    let user = User {
        comments: Vec::new(),
        name,
        uid,
        gid: id(&["-g", "--gid"]),
        groups,
        home: home.filter(|home| home != "/"),
        shell: path(&["-s", "--shell"]),
    };
    vec![Step::User {
        user,
        group: group.into_iter().next(),
    }]
}

fn group(command: &Command) -> Vec<Step> {
    let operands = command.operands(&["-g", "--gid", "-K", "--key"]);
    let [name] = operands[..] else {
        return vec![Step::Say("say it with [[group]] or [[user]]".to_owned())];
    };
    let gid = command
        .flag(&["-g", "--gid"])
        .and_then(|text| text.parse().ok())
        .filter(|gid| *gid < ID_LIMIT);
    vec![match (account_name(name), gid) {
        (Ok(name), Some(gid)) => Step::Group(Group { name, gid }),
        _ => Step::Nothing(format!(
            "a [[user]] brings a group of its name; `{name}` needs no line if it is that, else write a [[group]]"
        )),
    }]
}

fn is_plain(path: &str) -> bool {
    !path.contains(['*', '?', '[', '$', '~', '{'])
}

fn directories(command: &Command, workdir: &str) -> Vec<Step> {
    let mode = command.flag(&["-m", "--mode"]).and_then(octal);
    let paths = command.operands(&["-m", "-o", "-g", "--mode"]);
    paths
        .into_iter()
        .map(|path| match is_plain(path) {
            true => Step::Directory {
                to: super::stage::join(workdir, path),
                mode: mode.clone(),
            },
            false => Step::Say(format!("make the directories {path} with `dir`, one for each")),
        })
        .collect()
}

fn owners(command: &Command, workdir: &str) -> Vec<Step> {
    let recursive = command
        .words
        .iter()
        .any(|word| word.starts_with('-') && word.contains(['R']));
    let operands = command.operands(&[]);
    let Some((owner, paths)) = operands.split_first() else {
        return Vec::new();
    };
    let owner = owner.trim_end_matches(':').replace('.', ":");
    paths
        .iter()
        .map(|path| match is_plain(path) {
            true => Step::Owner {
                path: super::stage::join(workdir, path),
                owner: owner.clone(),
                recursive,
            },
            false => Step::Say(format!("give {path} its owner with `owner` in `copy` or `dir`")),
        })
        .collect()
}

fn modes(command: &Command, workdir: &str) -> Vec<Step> {
    let operands = command.operands(&[]);
    let recursive = command.has(&["-R", "--recursive"]);
    let Some((mode, paths)) = operands.split_first() else {
        return vec![Step::Say(
            "give the files their `mode` in `copy` or `dir`".to_owned(),
        )];
    };
    let executable = matches!(*mode, "+x" | "a+x" | "ugo+x").then(|| "0755".to_owned());
    paths
        .iter()
        .map(|path| {
            match octal(mode)
                .or_else(|| executable.clone())
                .filter(|_| is_plain(path) && !recursive)
            {
                Some(mode) => Step::Mode {
                    path: super::stage::join(workdir, path),
                    mode,
                },
                None => Step::Say(format!("give {path} its `mode` in `copy` or `dir`")),
            }
        })
        .collect()
}

/// Three or four octal digits as four.
pub(super) fn octal(text: &str) -> Option<String> {
    let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    is_octal.then(|| format!("{text:0>4}"))
}

fn link(command: &Command, workdir: &str) -> Vec<Step> {
    let symbolic = command.words.iter().any(|word| {
        word == "--symbolic" || word.starts_with('-') && !word.starts_with("--") && word.contains('s')
    });
    match (symbolic, &command.operands(&[])[..]) {
        (true, [to, from]) if is_plain(to) && is_plain(from) => {
            let mut from = super::stage::join(workdir, from);
            if from.ends_with('/') {
                from.push_str(to.trim_end_matches('/').rsplit('/').next().unwrap_or(to));
            }
            vec![Step::Link {
                from,
                to: (*to).to_owned(),
            }]
        }
        _ => vec![Step::Say("make the link with `link`".to_owned())],
    }
}

fn removals(command: &Command, workdir: &str) -> Vec<Step> {
    const CACHES: [&str; 6] = [
        "/var/lib/apt/lists",
        "/var/cache",
        "/tmp",
        "/var/tmp",
        "/root/.cache",
        "/root/.npm",
    ];
    let paths: Vec<_> = command
        .operands(&[])
        .into_iter()
        .map(|path| super::stage::join(workdir, path))
        .filter(|path| !CACHES.iter().any(|cache| path.starts_with(cache)))
        .collect();
    match &paths[..] {
        [] => vec![Step::Nothing("a build leaves no caches behind".to_owned())],
        paths => vec![Step::Say(format!(
            "if the base has it: remove = [{}] in a layer",
            paths
                .iter()
                .map(|path| super::write::quoted(path))
                .collect::<Vec<_>>()
                .join(", ")
        ))],
    }
}

fn download(command: &Command) -> Vec<Step> {
    let is_url = |word: &&String| word.starts_with("https://") || word.starts_with("http://");
    let urls: Vec<_> = command.words.iter().filter(is_url).collect();
    if urls.is_empty() {
        return vec![Step::Say(
            "fetch the file with `fetch` and its SHA-256, or in CI".to_owned(),
        )];
    }
    let fetch = |url: &String| {
        Step::Say(format!(
            "fetch = [{{ url = {}, to = \"…\", sha256 = \"…\" }}] in a layer (curl -L URL | sha256sum); or download it in CI",
            super::write::quoted(url)
        ))
    };
    urls.into_iter().map(fetch).collect()
}
