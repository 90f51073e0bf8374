//! Users and groups that a `RUN` adds.

use super::super::draft::{Group, User};
use super::State;

impl State<'_> {
    /// Adds a group, if no other has its name or its number; gives what to say of it.
    pub(super) fn add_group(&mut self, group: Group) -> String {
        let by_user = |user: &User| user.gid.is_none() && (user.name == group.name || user.uid == group.gid);
        let clash = |other: &Group| other.name == group.name || other.gid == group.gid;
        if self.draft.users.iter().any(by_user) || self.draft.groups.iter().any(clash) {
            return format!(
                "CHECK: the group {} is there already, or its number is",
                group.name
            );
        }
        let said = format!("[[group]] {}", group.name);
        self.draft.groups.push(group);
        said
    }

    /// Adds a user in the group of the name `group`; gives what to say of it.
    pub(super) fn add_user(&mut self, mut user: User, group: Option<String>) -> String {
        let clash = |other: &User| other.name == user.name || other.uid == user.uid;
        if self.draft.users.iter().any(clash) {
            return format!("CHECK: the user {} is there already, or its number is", user.name);
        }
        let mut said = format!("[[user]] {}", user.name);
        let groups = &mut self.draft.groups;
        if let Some(group) = group.filter(|_| user.gid.is_none()) {
            match groups.iter().find(|known| known.name == group) {
                Some(known) => user.gid = Some(known.gid),
                None if group == user.name => {}
                None => {
                    said = format!("CHECK: {said} is in the group {group}: give the number of that as `gid`");
                }
            }
        }
        // A user without `gid` brings a group of its name and number: this one.
        let own = groups
            .iter()
            .position(|known| known.name == user.name && known.gid == user.uid);
        if let Some(at) = own.filter(|_| user.gid.is_none_or(|gid| gid == user.uid)) {
            groups.remove(at);
            user.gid = None;
            said.push_str(", which brings the group of its name");
        }
        let other = groups
            .iter()
            .position(|known| known.name == user.name || known.gid == user.uid);
        if let Some(at) = other.filter(|_| user.gid.is_none()) {
            let known = groups.remove(at);
            said = format!(
                "CHECK: {said} brings a group {} with the number {}, and the group {} has the number {}",
                user.name, user.uid, known.name, known.gid
            );
        }
        self.draft.users.push(user);
        said
    }
}
