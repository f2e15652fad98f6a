//! The command line, as somebody on site uses it: init, check, run, status, the page.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{received, sink};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn edge(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forewarn-edge"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Ends with the test, however that ends.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nothing_to_a_running_agent() {
    let dir = tempfile::tempdir().unwrap();
    let made = edge(dir.path(), &["init", "--source", "host", "--output", "edge.toml"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let twice = edge(dir.path(), &["init", "--output", "edge.toml"]);
    assert!(!twice.status.success(), "it must not be overwritten");
    let unknown = edge(dir.path(), &["init", "--source", "modem"]);
    assert!(
        text(&unknown.stderr).contains("modbus"),
        "{}",
        text(&unknown.stderr)
    );

    let checked = edge(dir.path(), &["check", "--config", "edge.toml"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert!(
        text(&checked.stdout).contains("gateway/load1"),
        "{}",
        text(&checked.stdout)
    );
    let checked = edge(dir.path(), &["check", "--config", "edge.toml", "--json"]);
    let all: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(all[0]["verdict"], "ok");

    let received = received();
    let mut sink = sink(&received).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let path = dir.path().join("edge.toml");
    let config = std::fs::read_to_string(&path)
        .unwrap()
        .replace("mqtt://127.0.0.1:1883", &format!("mqtt://{}", sink.address))
        .replace("every_s = 30", "every_s = 0.1")
        .replace("disks = [\"/\"]", "disks = [\"/\", \"/nowhere\"]");
    std::fs::write(
        &path,
        format!("{config}\n[status]\nlisten = \"127.0.0.1:{port}\"\n"),
    )
    .unwrap();
    let failed = edge(dir.path(), &["check", "--config", "edge.toml", "--seconds", "2"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        text(&failed.stdout).contains("FAULT disk_used./nowhere"),
        "{}",
        text(&failed.stdout)
    );

    let agent = Command::new(env!("CARGO_BIN_EXE_forewarn-edge"))
        .args(["run", "--config", "edge.toml"])
        .current_dir(dir.path())
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut agent = Running(agent);
    sink.until(30, |r| r.readings > 10).await.unwrap();
    let page = async {
        loop {
            match get(port, "/healthz").await {
                Some((200, _)) => return,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), page).await.unwrap();
    let (code, html) = get(port, "/").await.unwrap();
    assert!(
        code == 200 && html.contains("host:gateway") && html.contains("1 points can"),
        "{html}"
    );
    let (_, json) = get(port, "/status.json").await.unwrap();
    let json = json.split_once('{').map(|(_, rest)| format!("{{{rest}")).unwrap();
    let end = json.rfind('}').unwrap();
    let status: Value = serde_json::from_str(&json[..=end]).unwrap();
    assert_eq!(status["uplink"]["connected"], true);
    assert!(status["collectors"][0]["produced"].as_u64() > Some(10));
    assert!(status["collectors"][0]["faults"]["disk_used./nowhere"].is_string());
    assert!(
        !html.contains("change me") && !json.contains("change me"),
        "the secret is shown"
    );

    // The command reads the file that the agent writes now and then.
    let shown = async {
        loop {
            let shown = edge(dir.path(), &["status", "--config", "edge.toml"]);
            let shown = text(&shown.stdout);
            if shown.contains("connected since") {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let shown = tokio::time::timeout(Duration::from_secs(30), shown)
        .await
        .unwrap();
    assert!(shown.contains("flash "), "{shown}");
    agent.0.kill().unwrap();
    agent.0.wait().unwrap();
    let shown = edge(dir.path(), &["status", "--config", "edge.toml"]);
    assert!(
        text(&shown.stdout).contains("agent not running"),
        "{}",
        text(&shown.stdout)
    );
}
