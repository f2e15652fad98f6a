//! The configuration that `forewarn-edge init` prints: everything with its meaning, sources as
//! comments except the one that is asked for.

use std::fmt::Write;

const HEAD: &str = include_str!("example/head.toml");

/// One section for each kind of source.
pub const SOURCES: [(&str, &str); 9] = [
    ("simulate", include_str!("example/simulate.toml")),
    ("modbus", include_str!("example/modbus.toml")),
    ("opcua", include_str!("example/opcua.toml")),
    ("mqtt", include_str!("example/mqtt.toml")),
    ("http", include_str!("example/http.toml")),
    ("serial", include_str!("example/serial.toml")),
    ("host", include_str!("example/host.toml")),
    ("tail", include_str!("example/tail.toml")),
    ("replay", include_str!("example/replay.toml")),
];

/// `kinds` are the sources that are not commented out.
///
/// # Errors
/// When there is no such kind.
pub fn configuration(kinds: &[String]) -> anyhow::Result<String> {
    let known: Vec<&str> = SOURCES.iter().map(|(kind, _)| *kind).collect();
    if let Some(unknown) = kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
        anyhow::bail!("there is no source `{unknown}`: there are {}", known.join(", "));
    }
    let mut text = HEAD.to_owned();
    let wanted = |kind: &str| kinds.iter().any(|wanted| wanted == kind);
    // Those that are asked for come first.
    for active in [true, false] {
        for (_, section) in SOURCES.iter().filter(|(kind, _)| wanted(kind) == active) {
            text.push('\n');
            for line in section.lines() {
                match (active, line) {
                    (true, line) => writeln!(text, "{line}")?,
                    (false, "") => writeln!(text, "#")?,
                    (false, line) => writeln!(text, "# {line}")?,
                }
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).unwrap()
    }

    #[test]
    fn every_source_alone_and_all_together_are_valid() {
        assert!(load(&configuration(&[]).unwrap()).collect.is_empty());
        let built = |kind: &&str| cfg!(feature = "opcua") || *kind != "opcua";
        let kinds = SOURCES.iter().map(|(kind, _)| kind).filter(|kind| built(kind));
        let kinds: Vec<String> = kinds.map(|kind| (*kind).to_owned()).collect();
        for kind in &kinds {
            let config = load(&configuration(std::slice::from_ref(kind)).unwrap());
            assert_eq!(config.collect.len(), 1);
            assert_eq!(config.collect[0].kind(), kind);
        }
        assert_eq!(load(&configuration(&kinds).unwrap()).collect.len(), kinds.len());
        let error = configuration(&["modem".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("modbus"), "{error}");
    }

    #[test]
    fn what_is_commented_out_is_valid_as_well() {
        // Every `# key = …` and `# [section]` of the head, without the prose.
        let text: String = HEAD
            .lines()
            .filter(|line| !line.contains("collect.report"))
            .map(|line| match line.strip_prefix("# ") {
                Some(rest)
                    if rest.starts_with('[')
                        || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
                {
                    format!("{rest}\n")
                }
                _ => format!("{line}\n"),
            })
            .take_while(|line| !line.starts_with("# Sources"))
            .collect();
        let text = text
            .replace("mqtt://127.0.0.1:1883", "mqtts://h")
            .replace("\"block\"   ", "\"drop_oldest\"   ");
        let config = load(&text);
        assert!(config.remote.enabled && config.status.listen.is_some());
        assert_eq!(config.uplink.tls.server_name.as_deref(), Some("forewarn.local"));
    }
}
