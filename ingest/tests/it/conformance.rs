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

#[test]
fn every_assertion_has_a_test_that_exists_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("../docs/sparkplug-conformance.md")).unwrap();
    let mut code = String::new();
    sources(&root.join("src/sparkplug"), &mut code);
    sources(&root.join("src/foreign"), &mut code);
    sources(&root.join("tests/it"), &mut code);
    let mut assertions = 0;
    for line in table.lines().filter(|line| line.starts_with("| tck-id-")) {
        assertions += 1;
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}");
        let tests: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(
            !tests.is_empty() || cells[2].starts_with('—'),
            "{line}: neither a test nor a reason"
        );
        for test in tests {
            assert!(
                code.contains(&format!("fn {test}(")),
                "{}: there is no test `{test}`",
                cells[0]
            );
        }
    }
    assert!(assertions > 70, "{assertions}");
}
