//! `cairn key add`, `remove` and `threshold`: changes of the ledger's list of keys.

use std::path::PathBuf;

use cairn_ledger::authority::{Authority, Grant, Group, KeyName, Role};
use cairn_ledger::operation::{KeyChange, changed_keys};
use cairn_ledger::{LocalKey, OperationError, PublicKey, Signer};
use clap::Args;
use jiff::Timestamp;

use crate::failure::{Exit, Failure};
use crate::ledgers::{EntryOptions, LedgerOptions, OpenLedger};
use crate::program::Cairn;
use crate::{roles, rules, signing};

/// What `cairn key add` takes.
#[derive(Debug, Args)]
pub struct Add {
    /// The public key: a file, its PEM text, or a line `ssh-ed25519 AAAA…`
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    pub key: String,
    /// What it is called in histories and messages
    #[arg(long, value_name = "NAME")]
    pub name: Option<KeyName>,
    /// A group that rules can require signatures of, such as human; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<Group>,
    /// What it may do: everything, or such as "release, promote on staging" or "rollback on prod to shown"; may be repeated
    #[arg(long = "role", value_name = "ROLE", value_parser = roles::parse)]
    pub roles: Vec<Role>,
    /// Until when, RFC 3339 or a date
    #[arg(long, value_name = "TIME", value_parser = until)]
    pub until: Option<Timestamp>,
    /// Makes it the recovery key instead: kept in a safe, it alone can change the keys
    #[arg(long, conflicts_with_all = ["name", "groups", "roles", "until"])]
    pub recovery: bool,
    /// How many keys must sign a change of keys or rules from then on
    #[arg(long, value_name = "N")]
    pub threshold: Option<u32>,
    /// Which ledger, and by whom.
    #[command(flatten)]
    pub options: ChangeOptions,
}

/// What `cairn key remove` takes.
#[derive(Debug, Args)]
pub struct Remove {
    /// The key, by its name or fingerprint
    #[arg(value_name = "KEY", required_unless_present = "recovery")]
    pub key: Option<String>,
    /// Removes the recovery key
    #[arg(long, conflicts_with = "key")]
    pub recovery: bool,
    /// How many keys must sign a change of keys or rules from then on
    #[arg(long, value_name = "N")]
    pub threshold: Option<u32>,
    /// Which ledger, and by whom.
    #[command(flatten)]
    pub options: ChangeOptions,
}

/// What `cairn key threshold` takes.
#[derive(Debug, Args)]
pub struct Threshold {
    /// How many keys must sign a change of keys or rules
    #[arg(value_name = "N")]
    pub threshold: u32,
    /// Which ledger, and by whom.
    #[command(flatten)]
    pub options: ChangeOptions,
}

/// What every change of the list takes.
#[derive(Debug, Args)]
pub struct ChangeOptions {
    /// Signs with the recovery key in FILE; one's own key, which must be listed afterwards, appends it
    #[arg(long, value_name = "FILE")]
    pub recover_with: Option<PathBuf>,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

/// A time, or a day, which ends with its last second.
fn until(text: &str) -> Result<Timestamp, String> {
    let is_day = text.len() == "2026-12-31".len();
    let whole = if is_day {
        format!("{text}T23:59:59Z")
    } else {
        text.to_owned()
    };
    match whole.parse::<Timestamp>() {
        Ok(time) if time.subsec_nanosecond() == 0 => Ok(time),
        _ => Err(format!(
            "`{text}` is not a time in whole seconds\nhint: write 2026-12-31, or 2026-12-31T18:00:00Z"
        )),
    }
}

impl Add {
    /// Lists the key.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.options.ledger.require_home(cairn).await?;
        let key = signing::public_key(cairn, &self.key)?;
        let mut changes = Vec::new();
        changes.push(match self.recovery {
            true => KeyChange::Recovery(Some(Box::new(key.clone()))),
            false => KeyChange::Put(Box::new(self.grant(authority(&open)?, key.clone())?)),
        });
        changes.extend(self.threshold.map(KeyChange::Threshold));
        self.options.change(cairn, &open, &changes).await
    }

    /// The key with its words; a key that is listed keeps those that are not given.
    fn grant(&self, authority: &Authority, key: PublicKey) -> Result<Grant, Failure> {
        let mut grant = match authority.grant(&key.fingerprint()) {
            Some(grant) => grant.clone(),
            None if self.roles.is_empty() => {
                return Err(Failure::new(Exit::Usage, "--role is missing: what may the key do?").with_hint(
                    "such as --role \"release, promote on staging\", --role \"rollback on prod to shown\", or --role everything"
                        .to_owned(),
                ));
            }
            None => Grant {
                roles: Vec::new(),
                ..Grant::owner(key)
            },
        };
        if let Some(name) = &self.name {
            grant.name = Some(name.clone());
        }
        if !self.groups.is_empty() {
            grant.groups.clone_from(&self.groups);
            grant.groups.sort();
            grant.groups.dedup();
        }
        if !self.roles.is_empty() {
            grant.roles.clone_from(&self.roles);
        }
        if self.until.is_some() {
            grant.until = self.until;
        }
        Ok(grant)
    }
}

impl Remove {
    /// Takes the key out.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.options.ledger.require_home(cairn).await?;
        let mut changes = Vec::new();
        if let Some(name) = &self.key {
            changes.push(KeyChange::Remove(find(authority(&open)?, name)?));
        }
        if self.recovery {
            changes.push(KeyChange::Recovery(None));
        }
        changes.extend(self.threshold.map(KeyChange::Threshold));
        self.options.change(cairn, &open, &changes).await
    }
}

impl Threshold {
    /// Changes it.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.options.ledger.require_home(cairn).await?;
        let changes = [KeyChange::Threshold(self.threshold)];
        self.options.change(cairn, &open, &changes).await
    }
}

fn authority(open: &OpenLedger) -> Result<&Authority, Failure> {
    let state = open.opened.state();
    state.map(|state| &state.authority).ok_or_else(|| open.absent())
}

/// The listed key of this name or fingerprint, of which the beginning will do.
fn find(authority: &Authority, name: &str) -> Result<cairn_ledger::Fingerprint, Failure> {
    let is_called = |grant: &&Grant| {
        let own = grant.name.as_ref().is_some_and(|own| own.as_str() == name);
        let beginning = name.trim_end_matches('…');
        own || (beginning.len() >= "SHA256:".len() + 6
            && grant.key.fingerprint().to_string().starts_with(beginning))
    };
    let found: Vec<&Grant> = authority.keys.iter().filter(is_called).collect();
    match found.as_slice() {
        [one] => Ok(one.key.fingerprint()),
        _ => Err(OperationError::UnknownKey {
            name: name.to_owned(),
        }
        .into()),
    }
}

impl ChangeOptions {
    /// Says what would be another list, and writes it.
    async fn change(&self, cairn: &Cairn, open: &OpenLedger, changes: &[KeyChange]) -> Result<(), Failure> {
        let before = authority(open)?;
        let at = cairn.environment.now();
        let after = changed_keys(before, changes, at)?;
        tell(cairn, before, &after);
        if let Some(state) = open.opened.state() {
            rules::tell_unmet(cairn, &state.rules, &after);
        }
        if self.entry.dry_run {
            cairn.terminal.say("not done: --dry-run");
            return Ok(());
        }
        let recovery: Option<LocalKey> = match &self.recover_with {
            Some(path) => Some(signing::of_file(cairn, path)?),
            None => None,
        };
        // Whoever recovers signs the head with a key that the new list has, and the old one perhaps not.
        let key = match recovery {
            Some(_) => signing::require_of(cairn, Some(&after))?,
            None => signing::require(cairn, open)?,
        };
        let context = self.entry.context(cairn, &key, None)?;
        let recovery = recovery.as_ref().map(|key| key as &dyn Signer);
        let governed = open
            .ledger
            .change_keys(&open.opened, &context, changes, recovery)
            .await;
        cairn.flush().await?;
        let governed = governed?;
        open.remember(cairn, &governed.opened);
        match governed.entry {
            Some(entry) => cairn.terminal.print(entry.name.to_string()),
            None => {
                cairn
                    .terminal
                    .say("the ledger has these keys already: nothing to do");
                Ok(())
            }
        }
    }
}

/// What tells the lists apart.
fn tell(cairn: &Cairn, before: &Authority, after: &Authority) {
    let known = |authority: &Authority, grant: &Grant| authority.keys.contains(grant);
    for grant in before.keys.iter().filter(|grant| !known(after, grant)) {
        cairn.terminal.step("-", roles::line(grant));
    }
    for grant in after.keys.iter().filter(|grant| !known(before, grant)) {
        cairn.terminal.step("+", roles::line(grant));
    }
    if before.recovery != after.recovery {
        let text = |key: &Option<PublicKey>| {
            key.as_ref()
                .map_or_else(|| "none".to_owned(), |key| key.fingerprint().to_string())
        };
        let text = format!("{} → {}", text(&before.recovery), text(&after.recovery));
        cairn.terminal.step("recovery key", text);
    }
    if before.threshold != after.threshold {
        let text = format!("{} → {}", before.threshold, after.threshold);
        cairn.terminal.step("threshold", text);
    }
}
