//! A spec is read, or all that is wrong with it has a place within the text.

#![no_main]

use cairn_build::Spec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Err(findings) = Spec::parse(text) else { return };
    assert!(!findings.is_empty());
    for finding in findings {
        assert!(text.get(finding.span.clone()).is_some(), "{finding:?}");
        let (line, column) = finding.line_column(text);
        assert!(line >= 1 && column >= 1);
    }
});
