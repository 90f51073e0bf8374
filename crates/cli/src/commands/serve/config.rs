//! The configuration file of `cairn serve`: TOML, unknown keys refused, every mistake shown with its place.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use cairn_build::Finding;
use cairn_registry::server::{Challenge, Limits, Pattern, Rule, Who};
use clap::ValueEnum;
use serde::Deserialize;
use toml::Spanned;

use super::housekeeping::Schedule;
use super::log::Format;
use super::mirrors::MirrorOf;
use super::tls::Files;
use crate::collecting::DAY;
use crate::diagnostic;
use crate::environment::parse_size;
use crate::failure::{Classify, Exit, Failure};
use crate::moment::duration;
use crate::terminal::Terminal;

/// Longest configuration file, in bytes (1 MiB).
const LIMIT: usize = 1 << 20;

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    listen: Option<Spanned<String>>,
    delete: Option<bool>,
    conditional_tags: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    access: Access,
    tls: Option<TlsTable>,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    operation: OperationTable,
    gc: Option<GcTable>,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MirrorTable {
    host: Spanned<String>,
    prefix: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct GcTable {
    every: Spanned<String>,
    grace: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LimitsTable {
    connections: Option<Spanned<i64>>,
    requests: Option<Spanned<i64>>,
    uploads: Option<Spanned<i64>>,
    open_uploads: Option<Spanned<i64>>,
    blob: Option<Spanned<String>>,
    free_space: Option<Spanned<String>>,
    head_time: Option<Spanned<String>>,
    still_time: Option<Spanned<String>>,
    drain_time: Option<Spanned<String>>,
    upload_life: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OperationTable {
    metrics: Option<Spanned<String>>,
    access_log: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TlsTable {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Access {
    htpasswd: Option<PathBuf>,
    realm: Option<Spanned<String>>,
    challenge: Option<Spanned<String>>,
    #[serde(default)]
    rule: Vec<Spanned<RuleTable>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuleTable {
    users: Option<Vec<Spanned<String>>>,
    anonymous: Option<bool>,
    repositories: Vec<Spanned<String>>,
    tags: Option<Vec<Spanned<String>>>,
    allow: Vec<Spanned<String>>,
}

/// What a configuration file says. What it does not say is `None` or empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: Option<SocketAddr>,
    /// Whether deleting is possible.
    pub delete: Option<bool>,
    /// Tags that are written only under a condition.
    pub conditional_tags: Option<Vec<Pattern>>,
    /// The file with the users.
    pub htpasswd: Option<PathBuf>,
    /// What the challenge says the passwords are for.
    pub realm: Option<String>,
    /// When to ask for a password.
    pub challenge: Option<Challenge>,
    /// Who may do what.
    pub rules: Vec<Rule>,
    /// The certificate and its key.
    pub tls: Option<Files>,
    /// Sizes, counts and times; the defaults where nothing is said.
    pub limits: Limits,
    /// How long an upload waits for whoever began it.
    pub upload_life: Option<Duration>,
    /// Where to answer operators.
    pub metrics: Option<SocketAddr>,
    /// How requests are written down.
    pub access_log: Option<Format>,
    /// When to collect garbage; never, if nothing is said.
    pub collect: Option<Schedule>,
    /// Other registries whose repositories are served.
    pub mirrors: Vec<MirrorOf>,
}

/// The file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file, or it is too long.
    #[error("there is no file {} of at most {LIMIT} bytes", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// It is not text.
    #[error("{} is not UTF-8", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
    },
}

impl Classify for ConfigError {
    fn exit(&self) -> Exit {
        Exit::Input
    }
}

impl Config {
    /// Reads the file `path`. Files that it names are beside it. Whether there are users anyway: `has_users`.
    ///
    /// # Errors
    ///
    /// Every mistake, each with its place.
    pub fn read(path: &Path, has_users: bool, terminal: &Terminal) -> Result<Self, Failure> {
        let missing = || ConfigError::Missing {
            path: path.to_owned(),
        };
        let bytes = cairn_store::files::read(path, LIMIT)?.ok_or_else(missing)?;
        let text = String::from_utf8(bytes).map_err(|_| ConfigError::Text {
            path: path.to_owned(),
        })?;
        let config = Self::parse(&text, path.parent().unwrap_or(Path::new("")), has_users);
        config.map_err(|findings| {
            let file = path.display().to_string();
            diagnostic::failure(terminal, &file, &text, &findings, "nothing is served")
        })
    }

    fn parse(text: &str, directory: &Path, has_users: bool) -> Result<Self, Vec<Finding>> {
        let document: Document = toml::from_str(text).map_err(|error| {
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            vec![Finding::new(message, within(error.span(), text))]
        })?;
        let mut reader = Reader {
            has_users,
            ..Reader::default()
        };
        let config = reader.config(document, directory);
        if reader.findings.is_empty() {
            return Ok(config);
        }
        reader.findings.sort_by_key(|finding| finding.span.start);
        Err(reader.findings)
    }
}

fn within(span: Option<Range<usize>>, text: &str) -> Range<usize> {
    let span = span.unwrap_or(0..0);
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.min(text.len()));
    start..end.max(start)
}

/// Collects what is wrong.
#[derive(Debug, Default)]
struct Reader {
    findings: Vec<Finding>,
    /// The command line names a file of users.
    has_users: bool,
}

impl Reader {
    fn config(&mut self, document: Document, directory: &Path) -> Config {
        let (access, limits, operation) = (document.access, document.limits, document.operation);
        let config = Config {
            listen: document.listen.and_then(|text| self.address(&text)),
            delete: document.delete,
            conditional_tags: document.conditional_tags.map(|tags| self.each(&tags)),
            htpasswd: access.htpasswd.map(|path| directory.join(path)),
            realm: access.realm.and_then(|realm| self.realm(&realm)),
            challenge: access.challenge.and_then(|text| self.challenge(&text)),
            upload_life: limits.upload_life.as_ref().and_then(|text| self.time(text)),
            limits: self.limits(&limits),
            metrics: operation.metrics.and_then(|text| self.address(&text)),
            access_log: operation.access_log.and_then(|text| self.format(&text)),
            collect: document.gc.and_then(|gc| {
                let grace = gc.grace.map_or(Some(DAY), |text| self.time(&text));
                self.time(&gc.every)
                    .zip(grace)
                    .map(|(every, grace)| Schedule { every, grace })
            }),
            tls: document.tls.map(|tls| Files {
                certificate: directory.join(tls.cert),
                key: directory.join(tls.key),
            }),
            mirrors: document
                .mirror
                .iter()
                .filter_map(|table| self.mirror(table))
                .collect(),
            rules: access.rule.iter().filter_map(|rule| self.rule(rule)).collect(),
        };
        let first = access.rule.iter().find(|rule| rule.get_ref().users.is_some());
        if let Some(rule) = first.filter(|_| config.htpasswd.is_none() && !self.has_users) {
            let finding = Finding::new("a rule names users, and there is no htpasswd", rule.span());
            self.findings
                .push(finding.with_hint("[access] htpasswd = \"FILE\""));
        }
        config
    }

    fn mirror(&mut self, table: &MirrorTable) -> Option<MirrorOf> {
        let prefix = table.prefix.as_ref();
        let text = match prefix {
            Some(prefix) => format!("{}={}", table.host.get_ref(), prefix.get_ref()),
            None => table.host.get_ref().clone(),
        };
        let mirror = text.parse();
        mirror
            .map_err(|message: String| self.findings.push(Finding::new(message, table.host.span())))
            .ok()
    }

    fn address(&mut self, text: &Spanned<String>) -> Option<SocketAddr> {
        let address = text.get_ref().parse().ok();
        if address.is_none() {
            let finding = Finding::new("not an address with a port", text.span());
            self.findings
                .push(finding.with_hint("such as 127.0.0.1:5000 or [::1]:5000"));
        }
        address
    }

    fn limits(&mut self, table: &LimitsTable) -> Limits {
        let mut limits = Limits::default();
        for (given, limit) in [
            (&table.connections, &mut limits.connections),
            (&table.requests, &mut limits.requests),
            (&table.uploads, &mut limits.uploads),
            (&table.open_uploads, &mut limits.open_uploads),
        ] {
            if let Some(given) = given {
                *limit = self.count(given).unwrap_or(*limit);
            }
        }
        for (given, limit) in [
            (&table.blob, &mut limits.blob),
            (&table.free_space, &mut limits.free_space),
        ] {
            if let Some(given) = given {
                *limit = self.size(given).unwrap_or(*limit);
            }
        }
        for (given, limit) in [
            (&table.head_time, &mut limits.header_timeout),
            (&table.still_time, &mut limits.body_timeout),
            (&table.drain_time, &mut limits.drain),
        ] {
            if let Some(given) = given {
                *limit = self.time(given).unwrap_or(*limit);
            }
        }
        limits
    }

    fn count(&mut self, number: &Spanned<i64>) -> Option<usize> {
        // More than a million of anything is a mistake, and more than tokio's semaphores hold is a panic.
        let count = usize::try_from(*number.get_ref()).ok();
        let count = count.filter(|count| (1..=1_000_000).contains(count));
        if count.is_none() {
            let message = "a limit is a number from 1 to 1000000";
            self.findings.push(Finding::new(message, number.span()));
        }
        count
    }

    fn size(&mut self, text: &Spanned<String>) -> Option<u64> {
        let size = parse_size(text.get_ref());
        if size.is_none() {
            let message = "not a number of bytes, alone or followed by K, M, G or T";
            self.findings.push(Finding::new(message, text.span()));
        }
        size
    }

    fn time(&mut self, text: &Spanned<String>) -> Option<Duration> {
        let time = duration(text.get_ref());
        if time.is_none() {
            let message = "not a time: a number from 1 on, followed by s, m, h or d, of at most ten years";
            self.findings.push(Finding::new(message, text.span()));
        }
        time
    }

    fn format(&mut self, text: &Spanned<String>) -> Option<Format> {
        let format = Format::from_str(text.get_ref(), false).ok();
        if format.is_none() {
            let message = "`access-log` is \"off\", \"text\" or \"json\"";
            self.findings.push(Finding::new(message, text.span()));
        }
        format
    }

    fn realm(&mut self, text: &Spanned<String>) -> Option<String> {
        let realm = text.get_ref();
        let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && c != '"' && c != '\\';
        if !realm.is_empty() && realm.len() <= 100 && realm.chars().all(is_plain) {
            return Some(realm.clone());
        }
        let message = "a realm is up to 100 ASCII characters without quotes and backslashes";
        self.findings.push(Finding::new(message, text.span()));
        None
    }

    fn challenge(&mut self, text: &Spanned<String>) -> Option<Challenge> {
        match text.get_ref().as_str() {
            "always" => Some(Challenge::Always),
            "when-needed" => Some(Challenge::WhenNeeded),
            _ => {
                let message = "`challenge` is \"always\" or \"when-needed\"";
                self.findings.push(Finding::new(message, text.span()));
                None
            }
        }
    }

    fn rule(&mut self, rule: &Spanned<RuleTable>) -> Option<Rule> {
        let table = rule.get_ref();
        let who = match (&table.users, table.anonymous.unwrap_or(false)) {
            (_, true) => Who::Anybody,
            (Some(users), false) if users.iter().any(|user| user.get_ref() == "*") => Who::AllUsers,
            (Some(users), false) => Who::Users(users.iter().map(|user| user.get_ref().clone()).collect()),
            (None, false) => {
                let finding = Finding::new("the rule does not say for whom it is", rule.span());
                let hint =
                    "users = [\"NAME\"], users = [\"*\"] for all of them, or anonymous = true for anybody";
                self.findings.push(finding.with_hint(hint));
                return None;
            }
        };
        if table.repositories.is_empty() || table.allow.is_empty() {
            let message = "a rule needs at least one repository and one thing to allow";
            self.findings.push(Finding::new(message, rule.span()));
        }
        Some(Rule {
            who,
            repositories: self.each(&table.repositories),
            tags: table.tags.as_ref().map(|tags| self.each(tags)),
            allow: self.each(&table.allow).into_iter().collect::<BTreeSet<_>>(),
        })
    }

    /// Every text read; those that cannot be are findings.
    fn each<T: FromStr<Err: std::error::Error>>(&mut self, texts: &[Spanned<String>]) -> Vec<T> {
        let mut read = Vec::with_capacity(texts.len());
        for text in texts {
            match text.get_ref().parse::<T>() {
                Ok(value) => read.push(value),
                Err(error) => self.findings.push(Finding::new(error.to_string(), text.span())),
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use cairn_registry::server::Action;

    use super::*;

    fn shown(text: &str) -> String {
        let findings = Config::parse(text, Path::new("/etc/cairn"), false).unwrap_err();
        let terminal = Terminal::new(false, false, false, false);
        diagnostic::failure(&terminal, "serve.toml", text, &findings, "nothing is served").to_string()
    }

    #[test]
    fn a_file_says_who_may_do_what() {
        let text = r#"
            listen = "127.0.0.1:5001"
            delete = false
            conditional-tags = ["cairn-head", "prod-*"]

            [access]
            htpasswd = "users"
            challenge = "when-needed"

            [[access.rule]]
            anonymous = true
            repositories = ["public/**"]
            allow = ["pull"]

            [[access.rule]]
            users = ["ann", "ci"]
            repositories = ["team/*"]
            tags = ["v*"]
            allow = ["pull", "create"]
        "#;
        let config = Config::parse(text, Path::new("/etc/cairn"), false).unwrap();
        assert_eq!(config.listen, Some(([127, 0, 0, 1], 5001).into()));
        assert_eq!(config.htpasswd.as_deref(), Some(Path::new("/etc/cairn/users")));
        assert_eq!(config.challenge, Some(Challenge::WhenNeeded));
        assert_eq!(config.delete, Some(false));
        assert_eq!(config.rules[0].who, Who::Anybody);
        assert_eq!(
            config.rules[1].allow,
            BTreeSet::from([Action::Pull, Action::Create])
        );
        assert_eq!(
            Config::parse("", Path::new(""), false).unwrap(),
            Config::default()
        );
    }

    #[test]
    fn limits_have_units_and_bounds() {
        let text = "[limits]\nblob = \"2G\"\nuploads = 3\nstill-time = \"2m\"\nupload-life = \"1d\"\n";
        let config = Config::parse(text, Path::new(""), false).unwrap();
        let expected = Limits {
            blob: 2 << 30,
            uploads: 3,
            body_timeout: Duration::from_secs(120),
            ..Limits::default()
        };
        assert_eq!(config.limits, expected);
        assert_eq!(config.upload_life, Some(Duration::from_secs(24 * 3600)));
        for bad in [
            "uploads = 0",
            "requests = -1",
            "blob = \"x\"",
            "drain-time = \"0s\"",
        ] {
            let shown = shown(&format!("[limits]\n{bad}\n"));
            assert!(
                shown.contains("serve.toml:2:") && shown.contains("1 error;"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a1_unknown_keys_are_shown_with_their_place() {
        let shown = shown("[access]\nhtpaswd = \"users\"\n");
        assert!(
            shown.contains("serve.toml:2:1") && shown.contains("htpasswd"),
            "{shown}"
        );
    }

    #[test]
    fn all_that_does_not_mean_anything_is_shown_at_once() {
        insta::assert_snapshot!(shown(
            r#"listen = "localhost"
conditional-tags = ["a b"]
[access]
realm = "a\"b"
challenge = "never"
[[access.rule]]
repositories = ["Team"]
allow = ["pull"]
[[access.rule]]
users = ["ann"]
repositories = ["**"]
tags = [""]
allow = ["read"]
"#
        ));
    }
}
