//! Collectors without a server of their own: files, pipes, pushes, local MQTT. From the source to the
//! receiver, through the spool.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

mod common;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use common::{Agent, check, head, received, series, sink, values};
use edge_agent::check::Verdict;
use edge_agent::mqtt::{Address, Link};
use rumqttc::mqttbytes::v4::{Connect, Login, Packet};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn append(path: &Path, text: &str) {
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_csv_file_is_followed_through_rotation_and_restart() {
    let received = received();
    let mut sink = sink(&received).await;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data.csv");
    append(
        &data,
        "when;temp;state\n2026-01-01 01:00:00;1;ok\n2026-01-01 01:00:01;2;ok\n2026-01-01 01:00:02;3",
    );
    let text = format!(
        "{}[[collect]]\nkind = \"tail\"\nfile = \"data.csv\"\ndevice = \"d\"\ntime = \"when\"\nzone = \"+01:00\"\ndelimiter = \";\"\n\
         [collect.columns]\ntemp = {{ channel = \"t\", unit = \"Cel\" }}\n",
        head(&format!("mqtt://{}", sink.address))
    );
    let agent = Agent::start_in(dir, &text);
    sink.until(20, |r| values(r, "d", "t") == [1.0, 2.0])
        .await
        .unwrap();
    let first = series(&received.lock(), "d", "t")[0].0;
    assert_eq!(first.to_string(), "2026-01-01T00:00:00Z");

    // The line is finished, one makes no sense, the file is renamed and another one begins.
    append(
        &data,
        ";ok\n2026-01-01 01:00:03;broken;ok\n2026-01-01 01:00:04;4;ok\n",
    );
    std::fs::rename(&data, agent.dir.path().join("data.csv.1")).unwrap();
    append(&agent.dir.path().join("data.csv.1"), "2026-01-01 01:00:05;5;ok\n");
    append(&data, "when;temp\n2026-01-01 01:00:06;6\n");
    sink.until(20, |r| values(r, "d", "t") == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .await
        .unwrap();

    // Written on while the agent is away: it goes on there, and says nothing twice.
    let dir = agent.stop().await;
    append(&data, "2026-01-01 01:00:07;7\n");
    let agent = Agent::start_in(dir, &text);
    sink.until(20, |r| values(r, "d", "t").len() >= 7).await.unwrap();
    assert_eq!(
        values(&received.lock(), "d", "t"),
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    );

    // Emptied in place.
    std::fs::write(&data, "when;temp\n2026-01-01 01:00:08;8\n").unwrap();
    sink.until(20, |r| values(r, "d", "t").len() >= 8).await.unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_come_from_a_pipe() {
    let received = received();
    let mut sink = sink(&received).await;
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("scale");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let text = format!(
        "{}[[collect]]\nkind = \"serial\"\npath = \"scale\"\ndevice = \"s\"\nprefix = \"$W,\"\ndelimiter = \",\"\n\
         fields = [{{ at = 0, channel = \"w\", unit = \"kg\" }}, {{ key = \"T=\", channel = \"t\", report = {{ on = \"change\" }} }}]\n",
        head(&format!("mqtt://{}", sink.address))
    );
    let agent = Agent::start_in(dir, &text);
    let writer =
        tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(pipe).unwrap());
    let mut writer = writer.await.unwrap();
    writer
        .write_all(b"$W,10.5kg,T=20\r\n$X,1\r\n$W,err,T=20\r\n$W,11,T=21C\r\n")
        .unwrap();
    sink.until(20, |r| {
        values(r, "s", "w") == [10.5, 11.0] && values(r, "s", "t") == [20.0, 21.0]
    })
    .await
    .unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_set_up_and_read() {
    // A pseudo terminal: a real tty, whose other end `script` holds.
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("name");
    let python = "import os,pty,sys,time,tty\nm,s=pty.openpty()\nopen(sys.argv[1]+'.tmp','w').write(os.ttyname(s))\nos.rename(sys.argv[1]+'.tmp',sys.argv[1])\nsys.stdin.readline()\nos.write(m,b'T=36.6\\n')\nsys.stdin.read()\n";
    let Ok(mut child) = std::process::Command::new("python3")
        .args(["-c", python])
        .arg(&name)
        .stdin(std::process::Stdio::piped())
        .spawn()
    else {
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    let tty = async {
        loop {
            match std::fs::read_to_string(&name) {
                Ok(tty) => return tty,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let tty = tokio::time::timeout(Duration::from_secs(20), tty).await.unwrap();
    let received = received();
    let mut sink = sink(&received).await;
    let text = format!(
        "{}[[collect]]\nkind = \"serial\"\npath = {tty:?}\nbaud = 19200\nparity = \"even\"\ndevice = \"s\"\nfields = [{{ key = \"T=\", channel = \"t\" }}]\n",
        head(&format!("mqtt://{}", sink.address))
    );
    let agent = Agent::start_in(dir, &text);
    stdin.write_all(b"go\n").unwrap();
    sink.until(20, |r| values(r, "s", "t") == [36.6]).await.unwrap();
    agent.stop().await;
    drop(stdin);
    child.wait().unwrap();
}

async fn post(port: u16, path: &str, token: Option<&str>, body: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = loop {
        match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let token = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_answered_when_it_is_on_the_disk() {
    let received = received();
    let mut sink = sink(&received).await;
    let port = free_port();
    let text = format!(
        "{}[[collect]]\nkind = \"http\"\nlisten = \"127.0.0.1:{port}\"\ntoken = \"t0ken\"\ntime = \"ts\"\nunits = {{ temp = \"Cel\" }}\n",
        head(&format!("mqtt://{}", sink.address))
    );
    let agent = Agent::start(&text);
    let body = r#"{"ts":"2026-01-01T00:00:00Z","temp":21.5,"note":"x"}"#;
    let (status, answer) = post(port, "/readings/pump-7", Some("t0ken"), body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer.contains("\"kept\":1") && answer.contains("note"),
        "{answer}"
    );
    // The answer promises this, whether or not anything was sent.
    let config = edge_agent::config::Config::load(&agent.dir.path().join("edge.toml")).unwrap();
    let segments = std::fs::read_dir(config.spool_dir()).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|extension| extension == "seg") && path.metadata().unwrap().len() > 100
    });
    assert_eq!(segments.count(), 1);
    for (path, token, body, expected) in [
        ("/readings/pump-7", None, body, 401),
        ("/readings/pump-7", Some("other"), body, 401),
        ("/readings/pump-7", Some("t0ken"), "{", 400),
        ("/readings/pump-7", Some("t0ken"), "5", 400),
        ("/readings/pump-7", Some("t0ken"), "{\"a\":null}", 422),
        ("/readings/pump-7/t", Some("t0ken"), "5", 200),
    ] {
        let (status, answer) = post(port, path, token, body).await;
        assert_eq!(status, expected, "{path} {body}: {answer}");
    }
    sink.until(20, |r| {
        values(r, "pump-7", "temp") == [21.5] && values(r, "pump-7", "t") == [5.0]
    })
    .await
    .unwrap();
    agent.stop().await;
}

/// Publishes with QoS 1 and waits for the PUBACKs.
async fn publish(port: u16, login: Option<(&str, &str)>, messages: &[(&str, &str)]) -> anyhow::Result<()> {
    let address = Address {
        host: "127.0.0.1".to_owned(),
        port,
        tls: false,
    };
    let mut connect = Connect::new("device");
    connect.login = login.map(|(user, password)| Login::new(user, password));
    let mut link = loop {
        match Link::connect(&address, None, connect.clone(), 1 << 20).await {
            Err(error) if format!("{error:#}").contains("Connection refused") => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            result => break result?,
        }
    };
    for (topic, payload) in messages {
        link.publish((*topic).to_owned(), false, payload.as_bytes().to_vec())?;
    }
    let mut answered = 0;
    while answered < messages.len() {
        if let Packet::PubAck(_) = link.next().await? {
            answered += 1;
        }
    }
    link.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_publish_to_the_gateway() {
    let received = received();
    let mut sink = sink(&received).await;
    let port = free_port();
    let text = format!(
        "{}[[collect]]\nkind = \"mqtt\"\nlisten = \"127.0.0.1:{port}\"\nusername = \"u\"\npassword = \"p\"\n\
         [[collect.topics]]\nfilter = \"plant/+/data\"\ndevice = \"{{1}}\"\ntime = \"ts\"\n",
        head(&format!("mqtt://{}", sink.address))
    );
    let agent = Agent::start(&text);
    let messages: Vec<(String, String)> = (0..300)
        .map(|i| {
            let ts = 1_767_225_600 + i;
            (
                "plant/m-1/data".to_owned(),
                format!("{{\"ts\":{ts},\"temp\":{i}}}"),
            )
        })
        .chain([
            ("elsewhere".to_owned(), "1".to_owned()),
            ("plant/m-1/data".to_owned(), "noise".to_owned()),
        ])
        .collect();
    let messages: Vec<(&str, &str)> = messages.iter().map(|(t, p)| (t.as_str(), p.as_str())).collect();
    publish(port, Some(("u", "p")), &messages).await.unwrap();
    // Every PUBACK has come: everything is on the disk, though the agent is stopped at once.
    let dir = agent.stop().await;
    let agent = Agent::start_in(dir, &text);
    sink.until(20, |r| values(r, "m-1", "temp").len() == 300)
        .await
        .unwrap();
    let wrong = publish(port, Some(("u", "x")), &[]).await.unwrap_err();
    assert!(format!("{wrong:#}").contains("BadUserNamePassword"), "{wrong:#}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (taken, closed) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), free_port());
    std::fs::write(dir.path().join("a.csv"), "x,y\n1,2\n").unwrap();
    let text = format!(
        "{}[[collect]]\nkind = \"host\"\n\
         [[collect]]\nkind = \"http\"\nlisten = \"{}\"\n\
         [[collect]]\nkind = \"modbus\"\naddress = \"127.0.0.1:{closed}\"\n[[collect.devices]]\ndevice = \"d\"\npoints = [{{ channel = \"c\", register = 0 }}]\n\
         [[collect]]\nkind = \"serial\"\npath = \"missing\"\ndevice = \"d\"\nfields = [{{ at = 0, channel = \"c\" }}]\n\
         [[collect]]\nkind = \"tail\"\nfile = \"a.csv\"\ndevice = \"d\"\n[collect.columns]\nz = {{ channel = \"z\" }}\n\
         [[collect]]\nkind = \"tail\"\nname = \"good\"\nfile = \"a.csv\"\ndevice = \"d\"\n[collect.columns]\nx = {{ channel = \"x\" }}\n\
         [[collect]]\nkind = \"http\"\nname = \"idle\"\nlisten = \"127.0.0.1:0\"\n",
        head("mqtt://127.0.0.1:1"),
        taken.local_addr().unwrap()
    );
    let all = check(dir.path(), &text, 1.0).await;
    let verdicts: Vec<Verdict> = all.iter().map(|checked| checked.verdict).collect();
    use Verdict::{Failed, Ok, Waiting};
    assert_eq!(
        verdicts,
        [Ok, Failed, Failed, Failed, Failed, Ok, Waiting],
        "{all:#?}"
    );
    let error = |i: usize| all[i].error.clone().unwrap();
    assert!(error(1).contains("in use"), "{}", error(1));
    assert!(error(2).contains(&closed.to_string()), "{}", error(2));
    assert!(error(3).contains("missing"), "{}", error(3));
    assert!(error(4).contains("no column `z`; it has x, y"), "{}", error(4));
    assert!(all[0].values.iter().any(|value| value.channel == "load1"));
    assert_eq!((all[5].values[0].value, all[5].values[0].readings), (1.0, 1));
}
