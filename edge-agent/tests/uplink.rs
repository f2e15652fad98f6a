//! The uplink against a receiver: TLS, two lanes, slow-down, configuration from afar.

#![expect(clippy::unwrap_used, reason = "a panic is the answer of a test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Agent, KEEP, head, received, sink, values};
use edge_agent::sink::{Manners, Sink};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// An authority, and certificates it has signed: PEM of certificate and key.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    /// Asks every client for a certificate of this authority.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let (cert, key) = self.sign(name);
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn simulate(history_days: u32) -> String {
    format!(
        "[[collect]]\nkind = \"simulate\"\ndevice = \"p\"\nmachine = \"pump\"\nhistory_days = {history_days}\nhistory_step_s = 60\nlive_every_s = 0.1\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_client_certificate() {
    let authority = Authority::new();
    let received = received();
    let mut sink = Sink::start_with(
        0,
        KEEP,
        Arc::clone(&received),
        Some(authority.acceptor("forewarn.test")),
    )
    .await
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = authority.sign("gateway");
    for (file, text) in [("ca.pem", &authority.pem), ("g.pem", &cert), ("g.key", &key)] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let tls = |lines: &str| {
        let head = head(&format!("mqtts://{}", sink.address));
        format!("{head}[uplink.tls]\nca_file = \"ca.pem\"\n{lines}{}", simulate(1))
    };
    let named = "server_name = \"forewarn.test\"\n";
    let good = tls(&format!("{named}cert_file = \"g.pem\"\nkey_file = \"g.key\"\n"));
    // The certificate names another host; we show no certificate; another authority.
    let other = Authority::new();
    std::fs::write(dir.path().join("other.pem"), &other.pem).unwrap();
    let mut dir = dir;
    for (bad, said) in [
        (good.replace("forewarn.test", "elsewhere.test"), "elsewhere.test"),
        (good.replace("ca.pem", "other.pem"), "invalid peer certificate"),
        (tls(named), "ertificate"),
    ] {
        let agent = Agent::start_in(dir, &bad);
        let mut heard = String::new();
        let complaint = async {
            while !heard.contains(said) {
                let status =
                    std::fs::read_to_string(agent.dir.path().join("spool/status.json")).unwrap_or_default();
                let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
                status["uplink"]["last_error"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut heard);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), complaint).await;
        assert!(waited.is_ok(), "expected {said}, heard {heard}");
        dir = agent.stop().await;
        assert_eq!(received.lock().readings, 0, "{said}");
    }
    let agent = Agent::start_in(dir, &good);
    sink.until(30, |r| r.readings > 1_440 * 12).await.unwrap();
    agent.stop().await;
    assert_eq!(received.lock().fault, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_readings_go_ahead_of_the_backlog_and_nothing_is_lost() {
    let first = received();
    // Takes and never commits: everything stays in the spool.
    let stall = Manners { stall: true, ..KEEP };
    let mut away = Sink::start(0, stall, Arc::clone(&first)).await.unwrap();
    let port = away.address.port();
    let text = format!(
        "{}max_readings = 200\n{}",
        head(&format!("mqtt://127.0.0.1:{port}")).replace(
            "retry_max_s = 0.2",
            "retry_max_s = 0.2\nwindow = 4\nbacklog_per_s = 200"
        ),
        simulate(10)
    );
    let agent = Agent::start(&text);
    away.until(30, |r| r.batches.len() >= 4).await.unwrap();
    let filled = async {
        loop {
            let status =
                std::fs::read_to_string(agent.dir.path().join("spool/status.json")).unwrap_or_default();
            let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
            if status["spool"]["records"].as_u64() > Some(300) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), filled)
        .await
        .unwrap();
    away.stop().await.unwrap();

    let received = received();
    let mut sink = Sink::start(port, KEEP, Arc::clone(&received)).await.unwrap();
    sink.until(60, |r| !r.order.is_empty()).await.unwrap();
    let newest = received.lock().order[0];
    assert!(newest > 300, "the first batch is {newest}, not a new one");
    let epoch = *received
        .lock()
        .batches
        .keys()
        .map(|(epoch, _)| epoch)
        .next()
        .unwrap();
    sink.until(60, |r| r.committed(epoch) > newest).await.unwrap();
    agent.stop().await;
    let received = received.lock();
    assert_eq!((received.lost, received.fault.clone()), (0, None));
    let last = received.committed(epoch);
    let came: Vec<u64> = received.batches.keys().map(|(_, seq)| *seq).collect();
    assert!((1..=last).all(|seq| came.contains(&seq)), "every batch is there");
    // Between two batches of the backlog new ones went out.
    let order: Vec<u64> = received.order.clone();
    let live = order
        .iter()
        .take_while(|seq| **seq != newest - 1)
        .filter(|seq| **seq > newest)
        .count();
    assert!(live > 0, "{order:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_patience_is_honoured() {
    let received = received();
    received.lock().mail.push((
        "error",
        r#"{"reason":"quota","detail":"10 a second","retry_after_s":3600}"#.to_owned(),
    ));
    let mut sink = sink(&received).await;
    let agent = Agent::start(&format!(
        "{}{}",
        head(&format!("mqtt://{}", sink.address)),
        simulate(1)
    ));
    sink.until(20, |r| r.connections == 1).await.unwrap();
    let path = agent.dir.path().join("spool/status.json");
    let shown = async {
        loop {
            let status: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
            if status["uplink"]["slow_reason"].as_str() == Some("quota: 10 a second")
                && status["spool"]["records"].as_u64() > Some(0)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shown)
        .await
        .unwrap();
    let sent = received.lock().batches.len();
    assert!(sent <= 2, "{sent} batches came all the same");
    agent.stop().await;
}

fn remote(port: u16) -> String {
    let text = head(&format!("mqtt://127.0.0.1:{port}"));
    format!(
        "{text}[remote]\nenabled = true\nallow_uplink = true\nlink_within_s = 1\n{}",
        simulate(0)
    )
}

/// What the gateway said last about a version.
fn reported(states: &[String], version: &str) -> Option<String> {
    states.iter().rev().find_map(|state| {
        let state: serde_json::Value = serde_json::from_str(state).ok()?;
        (state["config"]["version"] == version).then(|| state["config"].to_string())
    })
}

fn configure(version: &str, config: &str) -> (&'static str, String) {
    let command = serde_json::json!({ "command": "configure", "version": version, "config": config });
    ("command", command.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_from_afar_is_tried_and_kept() {
    let received = received();
    let add = "[[collect]]\nkind = \"simulate\"\ndevice = \"new\"\nmachine = \"hvac\"\nlive_every_s = 0.1\n";
    received.lock().mail.push(configure("7", add));
    let mut sink = sink(&received).await;
    let text = remote(sink.address.port());
    let agent = Agent::start(&text);
    let kept = |r: &edge_agent::sink::Received| {
        reported(&r.states, "7").is_some_and(|state| state.contains("\"state\":\"active\""))
    };
    sink.until(30, |r| kept(r) && !values(r, "new", "power").is_empty())
        .await
        .unwrap();
    // It outlives a restart.
    let dir = agent.stop().await;
    let before = values(&received.lock(), "new", "power").len();
    let agent = Agent::start_in(dir, &text);
    sink.until(30, |r| values(r, "new", "power").len() > before)
        .await
        .unwrap();
    agent.stop().await;
    let received = received.lock();
    assert_eq!((received.lost, received.fault.clone()), (0, None));
    let epochs: std::collections::BTreeSet<u64> = received.batches.keys().map(|(epoch, _)| *epoch).collect();
    assert_eq!(epochs.len(), 1, "the spool is the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_cuts_the_link_takes_itself_back() {
    let received = received();
    // Nobody listens there.
    let dead = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    received
        .lock()
        .mail
        .push(configure("8", &format!("[uplink]\nurl = \"mqtt://{dead}\"\n")));
    let mut sink = sink(&received).await;
    let agent = Agent::start(&remote(sink.address.port()));
    sink.until(30, |r| {
        reported(&r.states, "8")
            .is_some_and(|state| state.contains("rolled_back") && state.contains("in time"))
    })
    .await
    .unwrap();
    let so_far = received.lock().readings;
    sink.until(30, |r| r.readings > so_far + 100).await.unwrap();
    agent.stop().await;
    let received = received.lock();
    assert_eq!((received.lost, received.fault.clone()), (0, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_reaches_too_far_or_fails_is_refused() {
    let received = received();
    received.lock().mail.extend([
        configure("spool", "[spool]\ndir = \"elsewhere\"\n"),
        configure("identity", "[uplink]\ngateway = \"other\"\n"),
        configure("kind", "[[collect]]\nkind = \"modem\"\n"),
        // Passes the checks; its file is not there when it begins.
        configure(
            "file",
            "[[collect]]\nkind = \"replay\"\nfile = \"missing.csv\"\nformat = \"csv\"\ndevice = \"d\"\n[collect.columns]\na = { channel = \"a\" }\n",
        ),
    ]);
    let mut sink = sink(&received).await;
    let agent = Agent::start(&remote(sink.address.port()));
    sink.until(30, |r| {
        reported(&r.states, "file")
            .is_some_and(|state| state.contains("rolled_back") && state.contains("missing.csv"))
    })
    .await
    .unwrap();
    let dir = agent.stop().await;
    assert!(!dir.path().join("elsewhere").exists());
    let states = received.lock().states.clone();
    assert!(
        states
            .iter()
            .all(|state| !state.contains("\"version\":\"spool\",\"state\":\"active\""))
    );
    assert_eq!(received.lock().fault, None);
}
