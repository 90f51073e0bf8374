//! Shows what is wrong with a spec or lock: the line, the caret, the nearest name.

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use cairn_build::Finding;

use crate::escape::{escape, escape_lines};
use crate::failure::{Exit, Failure};
use crate::terminal::{Terminal, counted};

/// All findings of one text as one failure, ending in `2 errors; nothing was built`.
#[must_use]
pub fn failure(terminal: &Terminal, file: &str, text: &str, findings: &[Finding], undone: &str) -> Failure {
    let rendered = findings
        .iter()
        .map(|finding| render(terminal, file, text, finding))
        .collect();
    let count = counted(findings.len() as u64, "error", "errors");
    Failure::rendered(Exit::Input, rendered, format!("{count}; {undone}"))
}

fn render(terminal: &Terminal, file: &str, text: &str, finding: &Finding) -> String {
    let renderer = if terminal.color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let message = escape(&finding.message);
    let (file, text) = match &finding.elsewhere {
        None => (file, Some(text)),
        Some(elsewhere) => (elsewhere.file.as_str(), elsewhere.text.as_deref()),
    };
    let with_hint = |rendered: String| match &finding.hint {
        Some(hint) => format!("{rendered}\nhint: {}", escape_lines(hint)),
        None => rendered,
    };
    let title = Level::ERROR.primary_title(message.as_str());
    let Some(text) = text else {
        return with_hint(renderer.render(&[title.element(Origin::path(file))]));
    };
    let label = finding.label.as_deref().map(escape);
    // The source line is text of others too; replacing control characters one by one keeps all places.
    let source: String = text
        .chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                ' '
            } else {
                c
            }
        })
        .collect();
    let span = places(text, &source, finding.span.clone());
    let annotation = AnnotationKind::Primary.span(span).label(label.as_deref());
    let snippet = Snippet::source(&source)
        .path(file)
        .line_start(1)
        .annotation(annotation);
    with_hint(renderer.render(&[title.element(snippet)]))
}

/// The span in `source`, which has the characters of `text` but not always their lengths.
fn places(text: &str, source: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    if text.len() == source.len() {
        return span;
    }
    let place = |at: usize| {
        let characters = text.get(..at).map_or(0, |before| before.chars().count());
        source
            .char_indices()
            .nth(characters)
            .map_or(source.len(), |(index, _)| index)
    };
    place(span.start)..place(span.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_finding_shows_line_caret_and_nearest_key() {
        let text = "[config]\nentry-point = [\"/x\"]\n";
        let finding = Finding::new("unknown key `entry-point` in [config]", 9..20)
            .with_label("did you mean `entrypoint`?")
            .with_hint("see docs/spec.md");
        let terminal = Terminal::new(false, false, false, false);
        let failure = failure(&terminal, "cairn.toml", text, &[finding], "nothing was built");
        insta::assert_snapshot!(failure.to_string());
    }

    #[test]
    fn a_finding_about_another_file_names_it_and_its_line() {
        let line = Finding::new("`a[` is no pattern", 0..0).about_line(".cairnignore", "target\na[\n", 2);
        let whole = Finding::new("it is a directory", 0..0).about_file(".cairnignore");
        let terminal = Terminal::new(false, false, false, false);
        let failure = failure(
            &terminal,
            "cairn.toml",
            "[image]\n",
            &[line, whole],
            "nothing was built",
        );
        let shown = failure.to_string();
        assert!(shown.contains("--> .cairnignore:2:1"), "{shown}");
        assert!(shown.contains("2 | a["), "{shown}");
        assert!(shown.contains("--> .cairnignore\n"), "{shown}");
        assert!(!shown.contains("cairn.toml"), "{shown}");
    }
}
