//! Files of the workspace that tests produce: goldens and generated pages.

use super::workspace;

/// Compares the file at `path`, from the workspace, with `text`; writes it if `CAIRN_BLESS` is set.
#[track_caller]
pub(crate) fn golden(path: &str, text: &str) {
    let file = workspace().join(path);
    if std::env::var_os("CAIRN_BLESS").is_some_and(|value| !value.is_empty()) {
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("cannot write {path}: {error}"));
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    if kept != text {
        let (line, kept, now) = first_difference(&kept, text);
        panic!(
            "{path}:{line} differs\n   kept: {kept}\n    now: {now}\n`make bless` writes it anew; read the difference"
        );
    }
}

fn first_difference(kept: &str, now: &str) -> (usize, String, String) {
    let mut lines = kept.lines().map(Some).chain(std::iter::repeat(None));
    let mut others = now.lines().map(Some).chain(std::iter::repeat(None));
    for number in 1..=kept.lines().count().max(now.lines().count()) {
        let (one, other) = (lines.next().flatten(), others.next().flatten());
        if one != other {
            let shown = |line: Option<&str>| line.unwrap_or("(ends)").to_owned();
            return (number, shown(one), shown(other));
        }
    }
    (1, "(other ends of lines)".to_owned(), String::new())
}
