//! Reading TOML with findings: the part that spec and lock share.
//!
//! A document is first parsed into a tree with spans, and then asked for the keys that it may have. Whatever is
//! wrong becomes a [`Finding`], and reading goes on, so that all of it is reported at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::finding::{Finding, Located};

/// Collects findings while several readers hold it.
#[derive(Debug, Default)]
pub(crate) struct Findings(RefCell<Vec<Finding>>);

impl Findings {
    pub(crate) fn push(&self, finding: Finding) {
        self.0.borrow_mut().push(finding);
    }

    /// All findings in the order of the text.
    pub(crate) fn into_sorted(self) -> Vec<Finding> {
        let mut findings = self.0.into_inner();
        findings.sort_by(|a, b| {
            (a.span.start, a.span.end, &a.message).cmp(&(b.span.start, b.span.end, &b.message))
        });
        findings
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// Texts by their keys, with the place of key and text.
pub(crate) type TextMap = BTreeMap<String, (Range<usize>, Located<String>)>;

/// Why a text is not the value that a key wants.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) label: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            label: None,
            hint: None,
        }
    }

    pub(crate) fn with_label(self, label: impl Into<String>) -> Self {
        Self {
            label: Some(label.into()),
            ..self
        }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(crate) fn at(self, span: Range<usize>) -> Finding {
        Finding {
            message: self.message,
            span,
            label: self.label,
            hint: self.hint,
            elsewhere: None,
        }
    }
}

/// An error and its causes in one line, for a finding's message.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Parses `text`, or gives `None` where what is left after its syntax errors would only mislead.
pub(crate) fn parse<'t>(text: &'t str, limit: usize, findings: &Findings) -> Option<Spanned<DeTable<'t>>> {
    if text.len() > limit {
        findings.push(Finding::new(
            format!("the text has {} bytes, more than {limit}", text.len()),
            0..0,
        ));
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut is_whole = true;
    for error in errors {
        let span = within(error.span().unwrap_or(0..0), text);
        let is_duplicate = error.message() == "duplicate key";
        is_whole &= is_duplicate;
        findings.push(syntax_finding(error.message(), is_duplicate, span, text));
    }
    is_whole.then_some(table)
}

fn syntax_finding(message: &str, is_duplicate: bool, span: Range<usize>, text: &str) -> Finding {
    if is_duplicate {
        let key = &text[span.clone()];
        return Finding::new(format!("the key `{key}` is given twice"), span);
    }
    let finding = Finding::new(format!("not valid TOML: {message}"), span);
    if message.starts_with("unexpected leading zero") {
        return finding
            .with_hint("a number does not begin with 0; a mode is a text in quotes, such as \"0755\"");
    }
    finding
}

/// Moves the ends of `span` into `text` and onto character boundaries.
fn within(span: Range<usize>, text: &str) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.min(text.len()));
    start..end.max(start)
}

/// One table of the document, and which keys it may have.
pub(crate) struct Section<'d> {
    /// How messages call it: `[config]`, `copy`.
    title: String,
    table: &'d DeTable<'d>,
    span: Range<usize>,
    known: &'static [&'static str],
    findings: &'d Findings,
}

/// Which keys a table may have.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) known: &'static [&'static str],
    /// Keys of the format that this version cannot do yet.
    pub(crate) later: &'static [&'static str],
}

impl Keys {
    pub(crate) const fn all(known: &'static [&'static str]) -> Self {
        Self { known, later: &[] }
    }
}

impl<'d> Section<'d> {
    /// The document's root.
    pub(crate) fn root(table: &'d Spanned<DeTable<'d>>, keys: &Keys, findings: &'d Findings) -> Self {
        Self::new(String::new(), table.get_ref(), 0..0, keys, findings)
    }

    /// A table that was found in another way.
    pub(crate) fn of(
        title: &str,
        table: &'d DeTable<'d>,
        span: Range<usize>,
        keys: &Keys,
        findings: &'d Findings,
    ) -> Self {
        Self::new(title.to_owned(), table, span, keys, findings)
    }

    fn new(
        title: String,
        table: &'d DeTable<'d>,
        span: Range<usize>,
        keys: &Keys,
        findings: &'d Findings,
    ) -> Self {
        let section = Self {
            title,
            table,
            span,
            known: keys.known,
            findings,
        };
        section.check_keys(keys);
        section
    }

    fn check_keys(&self, keys: &Keys) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if keys.later.contains(&name) {
                let message = format!("`{name}` is not supported yet");
                self.report(Finding::new(message, key.span()));
            } else if !keys.known.contains(&name) {
                let finding = Finding::new(format!("unknown key `{name}`{}", self.inside()), key.span());
                self.report(match nearest(name, keys.known) {
                    Some(known) => finding.with_label(format!("did you mean `{known}`?")),
                    None => finding.with_hint(format!("known keys: {}", keys.known.join(", "))),
                });
            }
        }
    }

    fn inside(&self) -> String {
        if self.title.is_empty() {
            String::new()
        } else {
            format!(" in {}", self.title)
        }
    }

    pub(crate) fn report(&self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Where the table stands: its header, or the braces of an inline one.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where `key` stands, if it is there.
    pub(crate) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }

    fn value(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table.get(key)
    }

    /// A key that is only misspelled has its finding already.
    fn report_missing(&self, key: &str) {
        let mut unknown = self.table.keys().filter(|name| {
            let name: &str = name.get_ref();
            !self.known.contains(&name)
        });
        if unknown.any(|name| nearest(name.get_ref(), self.known) == Some(key)) {
            return;
        }
        let message = if self.title.is_empty() {
            format!("`{key}` is missing")
        } else {
            format!("{} needs `{key}`", self.title)
        };
        self.report(Finding::new(message, self.span()));
    }

    fn report_type(&self, key: &str, wanted: &str, found: &Spanned<DeValue<'_>>) {
        let message = format!("`{key}`{} must be {wanted}", self.inside());
        let label = format!("this is {}", described(found.get_ref()));
        let finding = Finding::new(message, found.span()).with_label(label);
        let hint = match (wanted, found.get_ref()) {
            ("a list", DeValue::String(_)) => format!("write {key} = [\"…\"]"),
            ("a list", DeValue::Table(_)) if self.title.is_empty() => format!("write [[{key}]]"),
            ("a list", DeValue::Table(_)) => format!("write {key} = [{{ … }}]"),
            ("a table of texts", DeValue::Array(_)) => format!("write {key} = {{ NAME = \"value\" }}"),
            _ => return self.report(finding),
        };
        self.report(finding.with_hint(hint));
    }

    pub(crate) fn text(&self, key: &str) -> Option<Located<String>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Located::new(text.to_string(), value.span())),
            _ => {
                self.report_type(key, "a text in quotes", value);
                None
            }
        }
    }

    /// The text of `key` read by `read`.
    pub(crate) fn parsed<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<Located<T>> {
        let text = self.text(key)?;
        self.read_text(&text, read)
    }

    fn read_text<T>(
        &self,
        text: &Located<String>,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<Located<T>> {
        match read(&text.value) {
            Ok(value) => Some(Located::new(value, text.span.clone())),
            Err(problem) => {
                self.report(problem.at(text.span.clone()));
                None
            }
        }
    }

    /// As [`Section::parsed`], and a finding if the key is not there.
    pub(crate) fn required<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<Located<T>> {
        if !self.has(key) {
            self.report_missing(key);
        }
        self.parsed(key, read)
    }

    pub(crate) fn integer(&self, key: &str) -> Option<Located<i64>> {
        let value = self.value(key)?;
        let number = whole_number(value.get_ref());
        if number.is_none() {
            self.report_type(key, "a whole number", value);
        }
        Some(Located::new(number?, value.span()))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(*boolean),
            _ => {
                self.report_type(key, "true or false", value);
                None
            }
        }
    }

    /// Whether `key` is there and has keys of its own.
    pub(crate) fn is_table(&self, key: &str) -> bool {
        let value = self.value(key);
        value.is_some_and(|value| matches!(value.get_ref(), DeValue::Table(_)))
    }

    pub(crate) fn required_integer(&self, key: &str) -> Option<Located<i64>> {
        if !self.has(key) {
            self.report_missing(key);
        }
        self.integer(key)
    }

    /// A date: as TOML's own type, or as text.
    pub(crate) fn text_or_date(&self, key: &str) -> Option<Located<String>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Datetime(date) => Some(Located::new(date.to_string(), value.span())),
            _ => self.text(key),
        }
    }

    pub(crate) fn is_list(&self, key: &str) -> bool {
        self.value(key)
            .is_some_and(|value| matches!(value.get_ref(), DeValue::Array(_)))
    }

    /// The elements of the list `key`; none if it is not there.
    pub(crate) fn list(&self, key: &str) -> Option<Vec<&'d Spanned<DeValue<'d>>>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Array(elements) => Some(elements.iter().collect()),
            _ => {
                self.report_type(key, "a list", value);
                None
            }
        }
    }

    /// The texts of the list `key`, each read by `read`.
    pub(crate) fn texts<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, Problem>,
    ) -> Option<Vec<Located<T>>> {
        let elements = self.list(key)?;
        let read_element = |element: &'d Spanned<DeValue<'d>>| match element.get_ref() {
            DeValue::String(text) => self.read_text(&Located::new(text.to_string(), element.span()), &read),
            _ => {
                self.report_type(key, "a list of texts", element);
                None
            }
        };
        Some(elements.into_iter().filter_map(read_element).collect())
    }

    /// The texts of the table `key` by their keys.
    pub(crate) fn text_map(&self, key: &str) -> Option<TextMap> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.report_type(key, "a table of texts", value);
            return None;
        };
        let mut map = BTreeMap::new();
        for (name, value) in table.iter() {
            match value.get_ref() {
                DeValue::String(text) => {
                    let text = Located::new(text.to_string(), value.span());
                    map.insert(name.get_ref().to_string(), (name.span(), text));
                }
                _ => self.report_type(name.get_ref(), "a text in quotes", value),
            }
        }
        Some(map)
    }

    /// The values of the table `key` by their keys.
    pub(crate) fn map(&self, key: &str) -> Option<Vec<(Located<String>, &'d Spanned<DeValue<'d>>)>> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.report_type(key, "a table", value);
            return None;
        };
        let mut map = Vec::new();
        for (name, value) in table.iter() {
            map.push((Located::new(name.get_ref().to_string(), name.span()), value));
        }
        Some(map)
    }

    /// The table `key`, called `title` in messages.
    pub(crate) fn table(&self, key: &str, title: &str, keys: &Keys) -> Option<Self> {
        let value = self.value(key)?;
        self.table_of(key, title, value, keys)
    }

    fn table_of(&self, key: &str, title: &str, value: &'d Spanned<DeValue<'d>>, keys: &Keys) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::new(
                title.to_owned(),
                table,
                value.span(),
                keys,
                self.findings,
            )),
            _ => {
                self.report_type(key, "a table", value);
                None
            }
        }
    }

    /// The tables in the table `key` by their names, each called as it is written: `[ledger.channels.prod]` by people, and
    /// `[image."web"]` in a lock, whose root they are in.
    pub(crate) fn named_tables(&self, key: &str, keys: &Keys) -> Vec<(Located<String>, Self)> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Table(table) = value.get_ref() else {
            self.report_type(key, "a table of tables", value);
            return Vec::new();
        };
        let above = self
            .title
            .strip_prefix('[')
            .and_then(|title| title.strip_suffix(']'));
        let above = above.map_or_else(String::new, |above| format!("{above}."));
        let named = table.iter().filter_map(|(name, value)| {
            let name_text = match above.is_empty() {
                true => format!("\"{}\"", name.get_ref()),
                false => key_text(name.get_ref()),
            };
            let title = format!("[{above}{key}.{name_text}]");
            let section = self.table_of(name.get_ref(), &title, value, keys)?;
            Some((Located::new(name.get_ref().to_string(), name.span()), section))
        });
        named.collect()
    }

    /// The tables of the list `key`, each called `title` in messages.
    pub(crate) fn tables(&self, key: &str, title: &str, keys: &Keys) -> Vec<Self> {
        let elements = self.list(key).unwrap_or_default();
        elements
            .into_iter()
            .filter_map(|element| self.table_of(key, title, element, keys))
            .collect()
    }
}

/// A key as it is written in TOML.
fn key_text(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !key.is_empty() && key.chars().all(is_bare) {
        true => key.to_owned(),
        false => format!("\"{key}\""),
    }
}

/// The number that `value` is, in whatever base it is written.
pub(crate) fn whole_number(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The known key that was probably meant: at most one edit in three characters away.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |key: &str| strsim::damerau_levenshtein(&name.replace('_', "-"), key);
    let closest = known.iter().min_by_key(|key| distance(key))?;
    (distance(closest) <= (name.chars().count() / 3).max(1)).then_some(closest)
}
