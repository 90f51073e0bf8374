//! What packages say of each other: `Depends: libc6 (>= 2.36), python3:any | pypy3` (Debian Policy, chapter 7).

use std::cmp::Ordering;
use std::fmt;

use super::version::compare;

/// How a version has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

/// One package that is named: its name, which architecture, which versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Atom<'b> {
    pub(crate) name: &'b str,
    /// After a colon: `any`, or an architecture.
    pub(crate) architecture: Option<&'b str>,
    pub(crate) version: Option<(Operator, &'b str)>,
}

impl Atom<'_> {
    /// Whether `version` is one of those that are meant.
    pub(crate) fn takes(&self, version: &str) -> bool {
        let Some((operator, wanted)) = self.version else {
            return true;
        };
        let order = compare(version, wanted);
        match operator {
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::Greater => order == Ordering::Greater,
        }
    }
}

impl fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(architecture) = self.architecture {
            write!(f, ":{architecture}")?;
        }
        let Some((operator, version)) = self.version else {
            return Ok(());
        };
        let sign = match operator {
            Operator::Less => "<<",
            Operator::LessOrEqual => "<=",
            Operator::Equal => "=",
            Operator::GreaterOrEqual => ">=",
            Operator::Greater => ">>",
        };
        write!(f, " ({sign} {version})")
    }
}

/// A relation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) String);

/// The groups of a field, each with its alternatives in order. An empty field has none.
pub(crate) fn groups(field: &str) -> Result<Vec<Vec<Atom<'_>>>, Unreadable> {
    let groups = field.split(',').map(str::trim).filter(|group| !group.is_empty());
    groups
        .map(|group| group.split('|').map(|text| atom(text.trim())).collect())
        .collect()
}

/// The packages of a field without alternatives: `Provides`, `Conflicts`, `Breaks`, `Replaces`.
pub(crate) fn atoms(field: &str) -> Result<Vec<Atom<'_>>, Unreadable> {
    let atoms = field.split(',').map(str::trim).filter(|text| !text.is_empty());
    atoms.map(atom).collect()
}

fn atom(text: &str) -> Result<Atom<'_>, Unreadable> {
    let unreadable = || Unreadable(text.escape_debug().to_string());
    let (head, version) = match text.split_once('(') {
        None => (text, None),
        Some((head, rest)) => {
            let inside = rest.strip_suffix(')').ok_or_else(unreadable)?.trim();
            (head.trim(), Some(restriction(inside).ok_or_else(unreadable)?))
        }
    };
    let (name, architecture) = match head.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (head, None),
    };
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
    };
    if !word(name) || !architecture.is_none_or(word) {
        return Err(unreadable());
    }
    Ok(Atom {
        name,
        architecture,
        version,
    })
}

fn restriction(text: &str) -> Option<(Operator, &str)> {
    let signs = [
        ("<<", Operator::Less),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        (">>", Operator::Greater),
        ("=", Operator::Equal),
        // Deprecated, and meaning "or equal" (Debian Policy, section 7.1).
        ("<", Operator::LessOrEqual),
        (">", Operator::GreaterOrEqual),
    ];
    let (sign, operator) = signs.into_iter().find(|(sign, _)| text.starts_with(sign))?;
    let version = text[sign.len()..].trim();
    let is_version = !version.is_empty()
        && version
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".+-:~".contains(&byte));
    is_version.then_some((operator, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_as_they_are_written() {
        let field =
            "libc6 (>= 2.36), python3:any | pypy3 (<< 8~),\n init-system-helpers(>=1.54~), x (= 1:2-3)";
        let shown: Vec<String> = groups(field)
            .unwrap()
            .iter()
            .map(|group| {
                group
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" | ")
            })
            .collect();
        let expected = [
            "libc6 (>= 2.36)",
            "python3:any | pypy3 (<< 8~)",
            "init-system-helpers (>= 1.54~)",
            "x (= 1:2-3)",
        ];
        assert_eq!(shown, expected);
        assert!(groups("").unwrap().is_empty());
        for bad in ["a b", "a (> )", "a (~ 1)", "a (>= 1", "|", "a:", "a\u{1b}"] {
            assert!(groups(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn operators_are_those_of_policy() {
        for (relation, version, is_taken) in [
            ("a (<< 2)", "2", false),
            ("a (<= 2)", "2", true),
            ("a (= 2)", "2-0", true),
            ("a (>= 2)", "2~rc1", false),
            ("a (>> 2)", "2.1", true),
            ("a", "0", true),
        ] {
            assert_eq!(
                atoms(relation).unwrap()[0].takes(version),
                is_taken,
                "{relation} {version}"
            );
        }
    }
}
