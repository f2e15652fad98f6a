//! `docs/mqtt-conformance.md` is true: every statement has a test that exists, or a reason.

use std::collections::BTreeMap;
use std::path::Path;

/// Statements of each standard, counted in its appendix.
const EXPECT: [(&str, usize); 2] = [("MQTT 3.1.1", 141), ("MQTT 5.0", 251)];

/// All functions that are tests, as `module::name`.
fn tests(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            tests(&path, &stem, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            // `packet/tests.rs` is the module `packet`.
            let module = if stem == "tests" || stem == "mod" {
                prefix
            } else {
                &stem
            };
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                let is_test = line == "#[test]" || line.starts_with("#[tokio::test");
                if is_test && let Some(signature) = lines.find(|line| line.contains("fn ")) {
                    let name = signature.split("fn ").nth(1).unwrap_or_default();
                    found.push(format!(
                        "{module}::{}",
                        name.split('(').next().unwrap_or_default()
                    ));
                }
            }
        }
    }
}

/// The tests of the crate, and the document.
fn read() -> (Vec<String>, String) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = Vec::new();
    tests(&here.join("tests/it"), "it", &mut known);
    tests(&here.join("src/front_door"), "front_door", &mut known);
    let text = std::fs::read_to_string(here.join("../docs/mqtt-conformance.md")).unwrap();
    (known, text)
}

/// `cell` names tests, all of which exist.
fn check(known: &[String], cell: &str) {
    for name in cell.split(',').map(|name| name.trim().trim_matches('`')) {
        assert!(
            known.iter().any(|test| test == name),
            "there is no test {name}: {cell}"
        );
    }
}

/// Every trap of rumqttd and rumqttc that was measured has a test against our listener.
#[test]
fn every_measured_trap_has_a_test() {
    let (known, text) = read();
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| 4.")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{line}");
        check(&known, cells[3]);
        rows.push(cells[1]);
    }
    let mut expect: Vec<String> = (1..=12).map(|row| format!("4.2, {row}")).collect();
    expect.extend([1, 2, 4].map(|row| format!("4.3, {row}")));
    assert_eq!(rows, expect);
}

#[test]
fn every_statement_has_a_test_or_a_reason() {
    let (known, text) = read();
    let (mut standard, mut rows) = (String::new(), BTreeMap::new());
    let (mut tested, mut explained) = (0, 0);
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            standard = title.to_owned();
        }
        let Some(row) = line.strip_prefix("| MQTT-") else {
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{line}");
        let before = rows.insert((standard.clone(), cells[0].to_owned()), line);
        assert_eq!(before, None, "twice: {line}");
        if cells[2].starts_with('`') {
            check(&known, cells[2]);
            tested += 1;
        } else {
            assert!(cells[2].len() > 5, "neither a test nor a reason: {line}");
            explained += 1;
        }
    }
    for (standard, count) in EXPECT {
        let got = rows.keys().filter(|(of, _)| of == standard).count();
        assert_eq!(got, count, "{standard}");
    }
    assert!(
        tested > explained,
        "{tested} with a test, {explained} with a reason"
    );
}
