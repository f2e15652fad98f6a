//! The table of Sparkplug's assertions names tests that exist.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, all: &mut String) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// Whether `name` is a function with a test's attribute, not merely one that is there.
fn is_a_test(code: &str, name: &str) -> bool {
    code.match_indices(&format!("fn {name}(")).any(|(at, _)| {
        let before = code[..at].trim_end_matches("async ").trim_end();
        let mut attributes = before.lines().rev().take_while(|line| {
            let line = line.trim_start();
            line.starts_with("#[") || line.starts_with("//")
        });
        attributes.any(|line| line.contains("test]") || line.contains("::test("))
    })
}

#[test]
fn a_helper_and_a_name_that_begins_alike_are_no_tests() {
    let code = "#[test]\nfn one_more() {}\n\n    #[tokio::test(flavor = \"multi_thread\")]\n    // why\n    async fn two() {}\nfn three() {}";
    for (name, expected) in [
        ("one_more", true),
        ("one", false),
        ("two", true),
        ("three", false),
    ] {
        assert_eq!(is_a_test(code, name), expected, "{name}");
    }
}

#[test]
fn every_assertion_has_a_test_that_exists_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("../docs/sparkplug-conformance.md")).unwrap();
    let mut code = String::new();
    sources(&root.join("src/sparkplug"), &mut code);
    sources(&root.join("src/foreign"), &mut code);
    sources(&root.join("tests/it"), &mut code);
    let mut assertions = std::collections::BTreeSet::new();
    for line in table.lines().filter(|line| line.starts_with("| tck-id-")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}");
        assert!(assertions.insert(cells[0]), "{line}: it stands there twice");
        let tests: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(
            !tests.is_empty() || cells[2].starts_with('—'),
            "{line}: neither a test nor a reason"
        );
        for test in tests {
            assert!(is_a_test(&code, test), "{}: there is no test `{test}`", cells[0]);
        }
    }
    assert!(assertions.len() > 90, "{}", assertions.len());
}
