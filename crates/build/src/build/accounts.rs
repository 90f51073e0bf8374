//! The users and groups of the image: the base's and the spec's.

use std::collections::BTreeMap;

use cairn_layer::{Attributes, Node, Source, Tree, TreeError, TreePath};

use crate::finding::{Finding, Located};
use crate::lock::BaseListing;
use crate::spec::{Group, Owner, Principal, Spec, User};

/// A base without users has this one, so that the file that the spec's users go into is a whole one.
const ROOT_USER: &str = "root:x:0:0:root:/root:/sbin/nologin";
const ROOT_GROUP: &str = "root:x:0:";
/// Name, password, number, members (group(5)).
const GROUP_FIELDS: usize = 4;

/// The lines of `/etc/passwd` and `/etc/group`, and what is found in them.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    passwd: Vec<String>,
    group: Vec<String>,
    users: BTreeMap<String, (u32, u32)>,
    groups: BTreeMap<String, u32>,
}

impl Accounts {
    /// The base's accounts with those of the spec added. Clashes become findings, and the user is then left out.
    pub(super) fn merge(spec: &Spec, base: &BaseListing, findings: &mut Vec<Finding>) -> Self {
        let mut accounts = Self::default();
        let lines = |lines: &[String], root: &str| match lines {
            [] => vec![root.to_owned()],
            lines => lines.to_vec(),
        };
        for line in lines(&base.users, ROOT_USER) {
            accounts.add_passwd_line(line);
        }
        for line in lines(&base.groups, ROOT_GROUP) {
            accounts.add_group_line(line);
        }
        for group in &spec.groups {
            findings.extend(accounts.add_group(group).err());
        }
        for user in &spec.users {
            findings.extend(accounts.add_user(user).err());
        }
        for user in &spec.users {
            for group in &user.groups {
                findings.extend(accounts.join(&user.name.value, &group.value, group).err());
            }
        }
        for group in &spec.groups {
            for member in &group.members {
                findings.extend(accounts.join(&member.value, &group.name.value, member).err());
            }
        }
        accounts
    }

    fn add_group(&mut self, group: &Group) -> Result<(), Finding> {
        let (name, gid) = (&group.name.value, group.gid.value);
        if let Some(other) = self.groups.get(name) {
            let message = format!("the base has a group `{name}` already, with the gid {other}");
            return Err(Finding::new(message, group.name.span.clone()).with_hint(format!(
                "it can be used as it is; a user of the spec gets into it with groups = [\"{name}\"]"
            )));
        }
        if let Some((other, _)) = self.groups.iter().find(|(_, id)| **id == gid) {
            let message = format!("the gid {gid} of `{name}` belongs to `{other}` of the base");
            return Err(Finding::new(message, group.gid.span.clone()));
        }
        self.add_group_line(format!("{name}:x:{gid}:"));
        Ok(())
    }

    /// Puts `user` into `group`, once; `named` is where the spec says so.
    fn join(&mut self, user: &str, group: &str, named: &Located<String>) -> Result<(), Finding> {
        let missing = |kind, name: &str| {
            let message = format!("the {kind} `{name}` is neither in the spec, the base nor its packages");
            Finding::new(message, named.span.clone()).with_hint(format!("add it as [[{kind}]]"))
        };
        if !self.users.contains_key(user) {
            return Err(missing("user", user));
        }
        let is_group = |line: &&mut String| line.split(':').next() == Some(group);
        let line = self.group.iter_mut().find(is_group);
        let line = line
            .filter(|_| self.groups.contains_key(group))
            .ok_or_else(|| missing("group", group))?;
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        fields.resize(GROUP_FIELDS, String::new());
        let members = &mut fields[GROUP_FIELDS - 1];
        if !members.split(',').any(|member| member == user) {
            let comma = if members.is_empty() { "" } else { "," };
            members.push_str(&format!("{comma}{user}"));
            *line = fields.join(":");
        }
        Ok(())
    }

    /// Lines that are damaged stay as they are, and nothing is found in them. The first of a name counts.
    fn add_passwd_line(&mut self, line: String) {
        let fields: Vec<&str> = line.split(':').collect();
        if let [name, _, uid, gid, ..] = fields[..]
            && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
        {
            self.users.entry(name.to_owned()).or_insert((uid, gid));
        }
        self.passwd.push(line);
    }

    fn add_group_line(&mut self, line: String) {
        let fields: Vec<&str> = line.split(':').collect();
        if let [name, _, gid, ..] = fields[..]
            && let Ok(gid) = gid.parse()
        {
            self.groups.entry(name.to_owned()).or_insert(gid);
        }
        self.group.push(line);
    }

    fn add_user(&mut self, user: &User) -> Result<(), Finding> {
        let (name, uid) = (&user.name.value, user.uid.value);
        if self.users.contains_key(name) {
            let message = format!("the base has a user `{name}` already");
            return Err(Finding::new(message, user.name.span.clone())
                .with_hint("owners and `user` can name it as it is"));
        }
        if let Some((other, _)) = self.users.iter().find(|(_, ids)| ids.0 == uid) {
            let message = format!("the uid {uid} of `{name}` belongs to `{other}` of the base");
            return Err(Finding::new(message, user.uid.span.clone()));
        }
        let gid = self.group_of(user)?;
        let (home, shell) = (&user.home, &user.shell);
        self.add_passwd_line(format!("{name}:x:{uid}:{gid}::{home}:{shell}"));
        Ok(())
    }

    /// The user's group: the one with the given number, which is added under the user's name if there is none.
    fn group_of(&mut self, user: &User) -> Result<u32, Finding> {
        let name = &user.name.value;
        let gid = user.gid.as_ref().unwrap_or(&user.uid);
        if let Some((other, _)) = self
            .groups
            .iter()
            .find(|(other, id)| **id == gid.value && *other != name)
        {
            if user.gid.is_some() {
                return Ok(gid.value);
            }
            let message = format!(
                "the group {} of `{name}` would be the group `{other}`, which is there already",
                gid.value
            );
            let hint = format!("write `gid = {}` if that is what you want", gid.value);
            return Err(Finding::new(message, gid.span.clone()).with_hint(hint));
        }
        match self.groups.get(name) {
            Some(other) if *other != gid.value => {
                let message = format!("there is a group `{name}` already, with the gid {other}");
                let finding = Finding::new(message, gid.span.clone());
                Err(finding.with_hint(format!("write `gid = {other}` to use it")))
            }
            Some(_) => Ok(gid.value),
            None => {
                self.add_group_line(format!("{name}:x:{}:", gid.value));
                Ok(gid.value)
            }
        }
    }

    /// Numbers of an owner, or a finding that names who is not there.
    pub(super) fn resolve(&self, owner: Option<&Located<Owner>>) -> Result<Option<(u32, u32)>, Finding> {
        let Some(owner) = owner else {
            return Ok(None);
        };
        let unknown = |kind, name: &str| {
            let message = format!("the {kind} `{name}` is neither in the spec, the base nor its packages");
            Finding::new(message, owner.span.clone())
                .with_hint(format!("add it as [[{kind}]], or give its number"))
        };
        let (uid, own_group) = match &owner.value.user {
            Principal::Id(uid) => (*uid, *uid),
            Principal::Name(name) => *self.users.get(name).ok_or_else(|| unknown("user", name))?,
        };
        let gid = match &owner.value.group {
            None => own_group,
            Some(Principal::Id(gid)) => *gid,
            Some(Principal::Name(name)) => *self.groups.get(name).ok_or_else(|| unknown("group", name))?,
        };
        Ok(Some((uid, gid)))
    }

    /// The layer that brings the accounts: both files, whole.
    pub(super) fn tree(&self) -> Result<Tree, TreeError> {
        let mut tree = Tree::new();
        for (path, lines) in [("etc/passwd", &self.passwd), ("etc/group", &self.group)] {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let node = Node::File {
                attributes: Attributes::file(false),
                source: Source::Bytes(text.into_bytes().into()),
            };
            // Both are paths by their form.
            if let Ok(path) = TreePath::new(path) {
                tree.insert(path, node)?;
            }
        }
        Ok(tree)
    }
}
