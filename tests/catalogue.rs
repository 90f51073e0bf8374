//! The catalogue of attacks and faults, `tests/README.md`: each row has a test of its name.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::workspace;

/// The names of all functions of the Rust files below `directory`.
fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| {
                let line = line.trim_start();
                let line = line.strip_prefix("async ").unwrap_or(line);
                let rest = line.strip_prefix("fn ")?;
                rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                    .next()
            });
            found.extend(names.map(str::to_owned));
        }
    }
}

/// The rows that a name speaks of: `c8_…`, or `a4_b6_…`.
fn rows(name: &str) -> Vec<String> {
    let is_row = |word: &&str| {
        let number = word.strip_prefix(|letter: char| letter.is_ascii_lowercase());
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name.split('_')
        .take_while(is_row)
        .map(str::to_uppercase)
        .collect()
}

#[test]
fn each_row_of_the_catalogue_has_a_test_of_its_name() {
    let mut all = BTreeSet::new();
    for directory in ["crates", "tests"] {
        functions(&workspace().join(directory), &mut all);
    }
    let covered: BTreeSet<String> = all.iter().flat_map(|name| rows(name)).collect();
    let text = std::fs::read_to_string(workspace().join("tests/README.md")).unwrap();
    let mut count = 0;
    for line in text.lines() {
        let Some((row, rest)) = line.strip_prefix("| ").and_then(|line| line.split_once(" | ")) else {
            continue;
        };
        if rows(&row.to_lowercase()) != [row] {
            continue;
        }
        count += 1;
        let open = rest.contains("| not yet: ");
        assert!(
            open || covered.contains(row),
            "no test is named after row {row}: {rest}"
        );
        for name in rest
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| !rows(name).is_empty())
        {
            assert!(
                all.contains(name),
                "row {row} names a test that is not there: {name}"
            );
        }
    }
    assert!(
        count >= 74,
        "the catalogue has {count} rows of tables A, B, C, E, F and H"
    );
}

/// Every test that the second table names.
#[test]
fn each_fault_of_the_ledger_has_the_tests_that_are_listed() {
    let mut all = BTreeSet::new();
    for directory in ["crates", "tests"] {
        functions(&workspace().join(directory), &mut all);
    }
    let text = std::fs::read_to_string(workspace().join("tests/README.md")).unwrap();
    let table = text.split("| of the ledger | tests |").nth(1).expect("a table");
    let rows: Vec<_> = table
        .lines()
        .skip(2)
        .take_while(|row| row.starts_with('|'))
        .collect();
    assert!(rows.len() >= 16, "{} rows", rows.len());
    for row in rows {
        let (_, tests) = row
            .trim_end_matches(" |")
            .rsplit_once(" | ")
            .expect("two columns");
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            assert!(all.contains(test), "there is no test {test}: {row}");
        }
    }
}

/// The endpoints of distribution-spec 1.1.1.
const ENDPOINTS: [&str; 16] = [
    "end-1", "end-2", "end-3", "end-4a", "end-4b", "end-5", "end-6", "end-7", "end-8a", "end-8b", "end-9",
    "end-10", "end-11", "end-12a", "end-12b", "end-13",
];

#[test]
fn each_endpoint_of_the_registry_has_a_test() {
    let mut all = BTreeSet::new();
    functions(&workspace().join("crates/registry/tests"), &mut all);
    let text = std::fs::read_to_string(workspace().join("docs/registry.md")).unwrap();
    let table = text.split("## Endpoints").nth(1).expect("a list of endpoints");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut numbers = BTreeSet::new();
    for row in rows.take_while(|row| !row.is_empty()) {
        let columns: Vec<_> = row.split(" | ").collect();
        let [_, number, _, tests] = columns[..] else {
            continue;
        };
        numbers.insert(number.trim());
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            assert!(all.contains(test), "there is no test {test}: {row}");
        }
    }
    for number in ENDPOINTS {
        assert!(numbers.contains(number), "{number} is not in docs/registry.md");
    }
}
