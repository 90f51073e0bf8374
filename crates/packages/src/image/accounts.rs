//! Users and groups: `/etc/passwd` and `/etc/group`.
//!
//! They come from the base; from base-passwd's master files, whose numbers Debian fixes; from `sysusers.d` of packages; and from
//! the table, for packages whose scripts call `adduser`. Who is there stays as they are. A number that nobody fixes is
//! found from the name, so that another package changes nobody's number but in the rare case of two
//! names with one hash.

use std::collections::{BTreeMap, BTreeSet};

use cairn_layer::TreePath;
use cairn_oci::Hasher;

use super::words::{given, lines, words};
use super::world::{World, path, text};
use super::{AssembleError, table};

/// The numbers for users and groups of packages that nobody fixes (Debian Policy, section 9.2.2).
const FIRST: u32 = 100;
const COUNT: u32 = 900;
const NOLOGIN: &str = "/usr/sbin/nologin";
const ROOT_USER: &str = "root:x:0:0:root:/root:/bin/bash";
const ROOT_GROUP: &str = "root:x:0:";

/// A user or group that a package wants.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    Group { name: String, gid: Option<u32> },
    User(User),
    Member { user: String, group: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: Option<u32>,
    group: Option<Group>,
    comment: String,
    home: String,
    shell: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    Number(u32),
    Name(String),
}

/// Who is in the image.
#[derive(Debug, Clone, Default)]
pub(super) struct Accounts {
    passwd: Vec<String>,
    group: Vec<String>,
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

/// Finds out who is in the image, and writes both files if that is not what the base has.
pub(super) fn settle(world: &mut World<'_>) -> Result<Accounts, AssembleError> {
    let wishes = wishes(world)?;
    let has_master = world.package("base-passwd").is_some();
    let mut accounts = Accounts::default();
    let base = (world.base.passwd.clone(), world.base.group.clone());
    if base == (None, None) && wishes.is_empty() && !has_master {
        return Ok(accounts);
    }
    let before = (base.0.unwrap_or_default(), base.1.unwrap_or_default());
    accounts.take(&before.0, &before.1);
    if has_master {
        let read = |world: &World<'_>, name| world.read(&path(name)).map(Option::unwrap_or_default);
        let passwd = read(world, "usr/share/base-passwd/passwd.master")?;
        let group = read(world, "usr/share/base-passwd/group.master")?;
        accounts.take(&passwd, &group);
    }
    accounts.take(ROOT_USER.as_bytes(), ROOT_GROUP.as_bytes());
    for wish in &wishes {
        accounts.grant(wish);
    }
    for (name, lines, before) in [
        ("etc/passwd", &accounts.passwd, before.0),
        ("etc/group", &accounts.group, before.1),
    ] {
        let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if content.as_bytes() != before {
            world.add(None, &path(name), text(content));
        }
    }
    Ok(accounts)
}

impl Accounts {
    /// The number of a user, by name or as digits.
    pub(super) fn uid(&self, name: &str) -> Option<u32> {
        number(&self.users, name)
    }

    /// The number of a group, by name or as digits.
    pub(super) fn gid(&self, name: &str) -> Option<u32> {
        number(&self.groups, name)
    }

    /// Takes the lines of whoever is not there yet.
    fn take(&mut self, passwd: &[u8], group: &[u8]) {
        for line in String::from_utf8_lossy(passwd).lines() {
            take(line, &mut self.passwd, &mut self.users);
        }
        for line in String::from_utf8_lossy(group).lines() {
            take(line, &mut self.group, &mut self.groups);
        }
    }

    fn grant(&mut self, wish: &Wish) {
        match wish {
            Wish::Group { name, gid } => {
                self.add_group(name, *gid);
            }
            Wish::User(user) => self.add_user(user),
            Wish::Member { user, group } => {
                self.add_group(group, None);
                self.join(user, group);
            }
        }
    }

    fn add_group(&mut self, name: &str, gid: Option<u32>) -> u32 {
        if let Some(gid) = self.groups.get(name) {
            return *gid;
        }
        let gid = free(&self.groups, name, gid);
        self.groups.insert(name.to_owned(), gid);
        self.group.push(format!("{name}:x:{gid}:"));
        gid
    }

    fn add_user(&mut self, user: &User) {
        if self.users.contains_key(&user.name) {
            return;
        }
        let gid = match &user.group {
            Some(Group::Number(gid)) => *gid,
            Some(Group::Name(name)) => self.add_group(name, None),
            None => self.add_group(&user.name, user.uid),
        };
        // The same number as the group's, if that is the user's own and nobody has it.
        let wished = user.uid.or_else(|| user.group.is_none().then_some(gid));
        let uid = free(&self.users, &user.name, wished);
        self.users.insert(user.name.clone(), uid);
        let User {
            name,
            comment,
            home,
            shell,
            ..
        } = user;
        self.passwd
            .push(format!("{name}:x:{uid}:{gid}:{comment}:{home}:{shell}"));
    }

    fn join(&mut self, user: &str, group: &str) {
        let start = format!("{group}:");
        let line = self.group.iter_mut().find(|line| line.starts_with(&start));
        if let Some(line) = line {
            let members = line.rsplit(':').next().unwrap_or_default();
            if !members.split(',').any(|member| member == user) {
                let comma = if members.is_empty() { "" } else { "," };
                line.push_str(comma);
                line.push_str(user);
            }
        }
    }
}

fn take(line: &str, lines: &mut Vec<String>, known: &mut BTreeMap<String, u32>) {
    let mut fields = line.split(':');
    let (name, id) = (fields.next().unwrap_or_default(), fields.nth(1));
    if known.contains_key(name) || line.is_empty() {
        return;
    }
    if let Some(id) = id.and_then(|id| id.parse().ok()) {
        known.insert(name.to_owned(), id);
    }
    lines.push(line.to_owned());
}

fn number(known: &BTreeMap<String, u32>, name: &str) -> Option<u32> {
    known.get(name).copied().or_else(|| name.parse().ok())
}

/// The number that is wished for, if nobody has it; else the first that is free from where the name's hash leads.
fn free(known: &BTreeMap<String, u32>, name: &str, wished: Option<u32>) -> u32 {
    let taken: BTreeSet<u32> = known.values().copied().collect();
    if let Some(wished) = wished.filter(|wished| !taken.contains(wished)) {
        return wished;
    }
    let mut hasher = Hasher::new();
    hasher.update(name.as_bytes());
    let digest = hasher.finish();
    let start = digest.as_bytes()[..4]
        .iter()
        .fold(0, |value: u32, byte| value << 8 | u32::from(*byte));
    let numbers = (0..COUNT).map(|step| FIRST + (start % COUNT + step) % COUNT);
    let after = FIRST + COUNT..;
    numbers
        .chain(after)
        .find(|number| !taken.contains(number))
        .unwrap_or(u32::MAX >> 1)
}

/// What packages want, groups first, each kind in the order of names.
fn wishes(world: &World<'_>) -> Result<Vec<Wish>, AssembleError> {
    let mut wishes = Vec::new();
    for file in world.files_in("usr/lib/sysusers.d", ".conf") {
        let content = world.read(&file)?.unwrap_or_default();
        for (line, content) in lines(&String::from_utf8_lossy(&content)) {
            let wish = sysuser(content).ok_or_else(|| AssembleError::Line {
                path: file.clone(),
                line,
            })?;
            wishes.extend(wish);
        }
    }
    for package in world.packages {
        for user in table::users(package.name()) {
            wishes.push(Wish::User(User {
                name: user.name.to_owned(),
                uid: None,
                group: user.group.map(|name| Group::Name(name.to_owned())),
                comment: user.comment.to_owned(),
                home: user.home.to_owned(),
                shell: NOLOGIN.to_owned(),
            }));
        }
    }
    wishes.sort_by(|left, right| order(left).cmp(&order(right)));
    Ok(wishes)
}

/// Numbers that are fixed come before those that are found.
fn order(wish: &Wish) -> (u8, bool, &str) {
    match wish {
        Wish::Group { name, gid } => (0, gid.is_none(), name),
        Wish::User(user) => (1, user.uid.is_none(), &user.name),
        Wish::Member { user, .. } => (2, false, user),
    }
}

/// What a line of sysusers.d(5) asks for; nothing if that is a range of numbers. None if it is no such line.
fn sysuser(line: &str) -> Option<Vec<Wish>> {
    let words = words(line)?;
    if words.first()? == "r" {
        return Some(Vec::new());
    }
    let name = given(&words, 1).filter(|name| is_name(name))?.to_owned();
    let id = given(&words, 2).unwrap_or_default();
    let (first, second) = id.split_once(':').unwrap_or((id, ""));
    match &words.first()?[..] {
        "g" => Some(vec![Wish::Group {
            name,
            gid: first.parse().ok(),
        }]),
        "u" | "u!" => {
            let group = match second {
                "" => None,
                group => Some(
                    group
                        .parse()
                        .map_or_else(|_| Group::Name(group.to_owned()), Group::Number),
                ),
            };
            Some(vec![Wish::User(User {
                name,
                uid: first.parse().ok(),
                group,
                comment: given(&words, 3).unwrap_or_default().replace(':', " "),
                home: given(&words, 4).unwrap_or("/").to_owned(),
                shell: given(&words, 5).unwrap_or(NOLOGIN).to_owned(),
            })])
        }
        "m" => Some(vec![Wish::Member {
            user: name,
            group: given(&words, 2).filter(|group| is_name(group))?.to_owned(),
        }]),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.is_empty()
        && name.len() <= 31
        && name.bytes().all(is_part)
        && !name.starts_with(['-', '.'])
        && name.bytes().any(|byte| !byte.is_ascii_digit())
}

/// A path that a configuration file gives; none if it is none, or has something that is only known on a running system.
pub(super) fn absolute(text: &str) -> Option<TreePath> {
    let text = text.trim_end_matches('/');
    (!text.contains('%'))
        .then(|| TreePath::from_absolute(text).ok())
        .flatten()
}
