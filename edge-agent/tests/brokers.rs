//! Local MQTT against programs that are not ours: Debian's mosquitto as the broker beside us, and
//! its `mosquitto_pub` as a device. Left out, with a line that says so, where they are not installed.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Agent, head, received, sink, values};

fn installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {program}")])
        .stdout(Stdio::null())
        .status()
        .unwrap()
        .success();
    if !found {
        models::servers::left_out(program, "it is not installed");
    }
    found
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

struct Broker(Child);

impl Broker {
    /// Keeps sessions in `dir`, so that it can be ended and started again.
    fn start(dir: &Path, port: u16) -> Self {
        let config = dir.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nautosave_interval 1\n",
            dir.display()
        );
        std::fs::write(&config, text).unwrap();
        let program = if Path::new("/usr/sbin/mosquitto").exists() {
            "/usr/sbin/mosquitto"
        } else {
            "mosquitto"
        };
        let child = Command::new(program)
            .arg("-c")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As a device would: tries until somebody listens.
async fn publish(port: u16, more: &[&str], topic: &str, payload: &str) {
    let done = async {
        loop {
            let port = port.to_string();
            let mut command = tokio::process::Command::new("mosquitto_pub");
            command
                .args(["-h", "127.0.0.1", "-p", &port, "-t", topic, "-m", payload])
                .args(more);
            if command.stderr(Stdio::null()).status().await.unwrap().success() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_pub_is_a_device() {
    if !installed("mosquitto_pub") {
        return;
    }
    let received = received();
    let mut sink = sink(&received).await;
    let port = free_port();
    let text = format!(
        "{}[[collect]]\nkind = \"mqtt\"\nlisten = \"127.0.0.1:{port}\"\nusername = \"u\"\npassword = \"p\"\n\
         [[collect.topics]]\nfilter = \"plant/+/+\"\ndevice = \"{{1}}\"\nchannel = \"{{2}}\"\n",
        head(&format!("mqtt://{}", sink.address))
    );
    let agent = Agent::start(&text);
    for (qos, value) in [("0", "1"), ("1", "2"), ("2", "3")] {
        publish(port, &["-q", qos, "-u", "u", "-P", "p"], "plant/m/t", value).await;
        let expected = value.parse().unwrap();
        sink.until(20, |r| values(r, "m", "t").last() == Some(&expected))
            .await
            .unwrap();
    }
    assert_eq!(values(&received.lock(), "m", "t"), [1.0, 2.0, 3.0]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_keeps_what_comes_while_we_are_away() {
    if !installed("mosquitto") || !installed("mosquitto_pub") {
        return;
    }
    let received = received();
    let mut sink = sink(&received).await;
    let (port, broker_dir) = (free_port(), tempfile::tempdir().unwrap());
    let broker = Broker::start(broker_dir.path(), port);
    let text = format!(
        "{}[[collect]]\nkind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\n\
         [[collect.topics]]\nfilter = \"plant/#\"\ndevice = \"{{1}}\"\n",
        head(&format!("mqtt://{}", sink.address))
    );
    let agent = Agent::start(&text);
    // Published until the subscription is there.
    let mut n = 0;
    let first = async {
        while values(&received.lock(), "m", "t").is_empty() {
            n += 1;
            publish(port, &["-q", "1"], "plant/m", &format!("{{\"t\":{n}}}")).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), first)
        .await
        .unwrap();
    let dir = agent.stop().await;
    for value in [100, 101, 102] {
        publish(port, &["-q", "1"], "plant/m", &format!("{{\"t\":{value}}}")).await;
    }
    let agent = Agent::start_in(dir, &text);
    sink.until(30, |r| values(r, "m", "t").ends_with(&[100.0, 101.0, 102.0]))
        .await
        .unwrap();
    // The broker ends and comes back.
    drop(broker);
    let _broker = Broker::start(broker_dir.path(), port);
    let again = async {
        let mut n = 200;
        while values(&received.lock(), "m", "t").last() < Some(&200.0) {
            publish(port, &["-q", "1"], "plant/m", &format!("{{\"t\":{n}}}")).await;
            n += 1;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again)
        .await
        .unwrap();
    agent.stop().await;
}
