//! The Modbus and OPC UA collectors against servers that are not ours: PyPI `pymodbus` and `asyncua`.
//!
//! Left out, with a line that says so, when Python or the packages can't be had; with
//! `FOREWARN_REQUIRE_SERVERS` in the environment that is a failure.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

mod common;

use std::time::Duration;

use common::{Agent, Server, check, head, received, series, sink, values};
use edge_agent::check::{Checked, Verdict};
use models::reading::Quality;

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn value(checked: &Checked, device: &str, channel: &str) -> f64 {
    let found = checked
        .values
        .iter()
        .find(|value| value.device == device && value.channel == channel);
    found
        .unwrap_or_else(|| panic!("no {device}/{channel} in {checked:#?}"))
        .value
}

fn modbus(port: &str, transport: &str) -> String {
    format!(
        "{}[[collect]]\nkind = \"modbus\"\naddress = \"127.0.0.1:{port}\"\ntransport = \"{transport}\"\nevery_s = 0.1\n\
         [[collect.devices]]\ndevice = \"one\"\nunit_id = 1\npoints = [\n\
         {{ channel = \"u16\", register = 0, scale = 0.1, unit = \"Cel\" }},\n\
         {{ channel = \"i16\", register = 1, type = \"i16\" }},\n\
         {{ channel = \"f32\", register = 2, type = \"f32\" }},\n\
         {{ channel = \"f32l\", register = 4, type = \"f32\", word_order = \"little\" }},\n\
         {{ channel = \"f64\", register = 6, type = \"f64\" }},\n\
         {{ channel = \"i32\", register = 10, type = \"i32\" }},\n\
         {{ channel = \"u64\", register = 12, type = \"u64\" }},\n\
         {{ channel = \"bit5\", register = 16, bit = 5 }},\n\
         {{ channel = \"bit4\", register = 16, bit = 4 }},\n\
         {{ channel = \"coil\", table = \"coil\", register = 2 }},\n\
         {{ channel = \"discrete\", table = \"discrete\", register = 1 }},\n\
         {{ channel = \"input\", table = \"input\", register = 0, type = \"i16\", scale = 0.1, offset = 5 }},\n\
         {{ channel = \"far\", register = 119, report = {{ on = \"change\" }} }},\n\
         ]\n\
         [[collect.devices]]\ndevice = \"two\"\nunit_id = 2\npoints = [{{ channel = \"u16\", register = 9 }}]\n",
        head("mqtt://127.0.0.1:1")
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modbus_over_tcp_and_rtu_over_tcp() {
    for (framing, transport) in [("tcp", "tcp"), ("rtu", "rtu_over_tcp")] {
        let Some(server) = common::server("modbus.py", &[framing, "0"]) else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let all = check(dir.path(), &modbus(&server.said, transport), 10.0).await;
        let checked = &all[0];
        assert_eq!(checked.verdict, Verdict::Ok, "{transport}: {checked:#?}");
        for (channel, expected) in [
            ("u16", 21.5),
            ("i16", -1.0),
            ("f32", 12.5),
            ("f32l", -3.25),
            ("f64", 1e9),
            ("i32", -70_000.0),
            ("u64", 5e9),
            ("bit5", 1.0),
            ("bit4", 0.0),
            ("coil", 1.0),
            ("discrete", 1.0),
            ("input", -5.0),
            ("far", 1019.0),
        ] {
            assert!(
                (value(checked, "one", channel) - expected).abs() < 1e-9,
                "{transport} {channel}"
            );
        }
        assert_eq!(value(checked, "two", "u16"), 42.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modbus_faults_are_those_of_their_points() {
    let Some(server) = common::server("modbus.py", &["tcp", "0"]) else {
        return;
    };
    let port = &server.said;
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{}[[collect]]\nkind = \"modbus\"\naddress = \"127.0.0.1:{port}\"\nevery_s = 0.1\ntimeout_s = 0.3\n\
         [[collect.devices]]\ndevice = \"one\"\nunit_id = 1\npoints = [\n\
         {{ channel = \"good\", register = 48 }},\n\
         {{ channel = \"beyond\", register = 50 }},\n\
         {{ channel = \"nan\", register = 18, type = \"f32\" }},\n\
         ]\n",
        head("mqtt://127.0.0.1:1")
    );
    let all = check(dir.path(), &text, 10.0).await;
    let checked = &all[0];
    assert_eq!(checked.verdict, Verdict::Failed);
    assert_eq!(
        value(checked, "one", "good"),
        0.0,
        "read together with one that doesn't exist"
    );
    let fault = |point: &str| checked.faults.get(point).cloned().unwrap_or_default();
    assert!(
        fault("one/beyond").contains("holding register 50 of unit 1"),
        "{checked:#?}"
    );
    assert!(fault("one/nan").contains("word_order"), "{checked:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_modbus_server_that_goes_away_and_comes_back() {
    let Some(server) = common::server("modbus.py", &["tcp", "0"]) else {
        return;
    };
    let port = server.said.clone();
    let received = received();
    let mut sink = sink(&received).await;
    let text = modbus(&port, "tcp").replace("mqtt://127.0.0.1:1\"", &format!("mqtt://{}\"", sink.address));
    let agent = Agent::start(&text);
    sink.until(30, |r| values(r, "one", "f32").len() > 2)
        .await
        .unwrap();
    server.kill();
    let path = agent.dir.path().join("spool/status.json");
    let noticed = async {
        loop {
            let status: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
            if status["collectors"][0]["error"]
                .as_str()
                .is_some_and(|error| error.contains(&port))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), noticed)
        .await
        .unwrap();
    let before = values(&received.lock(), "one", "f32").len();
    let _server = common::server("modbus.py", &["tcp", &port]).unwrap();
    sink.until(60, |r| values(r, "one", "f32").len() > before + 2)
        .await
        .unwrap();
    agent.stop().await;
    let received = received.lock();
    assert_eq!(values(&received, "one", "far"), [1019.0], "reported by change");
    assert_eq!(received.fault, None);
}

fn opcua(port: u16, more: &str) -> String {
    format!(
        "{}[[collect]]\nkind = \"opcua\"\nurl = \"opc.tcp://127.0.0.1:{port}/plant\"\ndevice = \"press\"\npublishing_ms = 100\nsampling_ms = 100\n{more}\
         points = [\n\
         {{ node = \"ns=2;s=temp\", channel = \"temp\", unit = \"Cel\" }},\n\
         {{ node = \"nsu=http://forewarn.test/plant;s=running\", channel = \"running\", device = \"other\" }},\n\
         {{ node = \"ns=2;s=count64\", channel = \"count64\" }},\n\
         {{ node = \"ns=2;s=counter\", channel = \"counter\" }},\n\
         {{ node = \"ns=2;s=shaky\", channel = \"shaky\" }},\n\
         {{ node = \"ns=2;s=name\", channel = \"name\" }},\n\
         {{ node = \"ns=2;s=missing\", channel = \"missing\" }},\n\
         {{ node = \"nsu=http://nowhere/x;s=a\", channel = \"nowhere\" }},\n\
         ]\n",
        head("mqtt://127.0.0.1:1")
    )
}

fn start_opcua(port: u16, dir: &std::path::Path) -> Option<Server> {
    common::server("opcua.py", &[&port.to_string(), dir.to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opcua_values_and_faults() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let Some(_server) = start_opcua(port, dir.path()) else {
        return;
    };
    let all = check(dir.path(), &opcua(port, ""), 20.0).await;
    let checked = &all[0];
    assert_eq!(value(checked, "press", "temp"), 21.5, "{checked:#?}");
    assert_eq!(value(checked, "other", "running"), 1.0);
    assert_eq!(value(checked, "press", "count64"), 5e9);
    let shaky = checked
        .values
        .iter()
        .find(|value| value.channel == "shaky")
        .unwrap();
    assert_eq!((shaky.value, shaky.quality), (2.0, Quality::Suspect));
    let fault = |point: &str| checked.faults.get(point).cloned().unwrap_or_default();
    assert!(fault("name").contains("is a String"), "{checked:#?}");
    assert!(fault("missing").contains("BadNodeIdUnknown"), "{checked:#?}");
    assert!(fault("nowhere").contains("no namespace"), "{checked:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opcua_with_encryption_a_user_and_trust() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let Some(_server) = start_opcua(port, dir.path()) else {
        return;
    };
    let secure = |user: &str, trust: &str| {
        opcua(
            port,
            &format!(
                "security_policy = \"Basic256Sha256\"\nuser = \"forewarn\"\npassword = \"{user}\"\ntrust = \"{trust}\"\n"
            ),
        )
    };
    let error = |all: &[Checked]| all[0].error.clone().unwrap_or_default();
    let all = check(
        dir.path(),
        &opcua(port, "security_policy = \"Aes256_Sha256_RsaPss\"\n"),
        20.0,
    )
    .await;
    assert!(
        error(&all).contains("it offers None with None, Basic256Sha256"),
        "{all:#?}"
    );
    let all = check(dir.path(), &secure("geheim", "known"), 20.0).await;
    assert!(error(&all).contains("pki/trusted"), "{all:#?}");
    // As the message says: somebody looks at it and moves it.
    for entry in std::fs::read_dir(dir.path().join("pki/rejected")).unwrap() {
        let from = entry.unwrap().path();
        std::fs::rename(
            &from,
            dir.path().join("pki/trusted").join(from.file_name().unwrap()),
        )
        .unwrap();
    }
    let all = check(dir.path(), &secure("wrong", "known"), 10.0).await;
    assert!(error(&all).contains("doesn't accept the user"), "{all:#?}");
    let all = check(dir.path(), &secure("geheim", "known"), 20.0).await;
    assert_eq!(value(&all[0], "press", "temp"), 21.5, "{all:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opcua_server_that_goes_away_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let Some(server) = start_opcua(port, dir.path()) else {
        return;
    };
    let received = received();
    let mut sink = sink(&received).await;
    let text = opcua(port, "").replace("mqtt://127.0.0.1:1\"", &format!("mqtt://{}\"", sink.address));
    let agent = Agent::start(&text);
    sink.until(30, |r| values(r, "press", "counter").len() > 5)
        .await
        .unwrap();
    let stamps = series(&received.lock(), "press", "counter");
    assert!(
        stamps.windows(2).all(|pair| pair[0].0 <= pair[1].0),
        "source times"
    );
    server.kill();
    let _server = start_opcua(port, dir.path()).unwrap();
    let last = stamps.len();
    // It counts from 1, the one before from a million.
    sink.until(90, |r| {
        let all = values(r, "press", "counter");
        all.len() > last + 5 && all.windows(2).any(|pair| pair[1] < pair[0])
    })
    .await
    .unwrap();
    agent.stop().await;
}
