use models::id::TenantId;

use super::*;

const T0: i64 = 1_767_225_600_000_000;

type Told = Arc<Mutex<Vec<(String, Bytes)>>>;

fn host() -> (Host, Told) {
    let told = Told::default();
    let to = told.clone();
    let host = Host::new(
        Settings::default(),
        Box::new(move |_, topic, payload| to.lock().push((topic, payload))),
    );
    (host, told)
}

fn gateway() -> Arc<Gateway> {
    Arc::new(Gateway {
        id: GatewayId::new(),
        tenant: TenantId::new(),
        tenant_slug: "acme".into(),
        slug: "line-1".into(),
        max_channels: 10,
    })
}

fn metric(name: Option<&str>, alias: u64, value: f64) -> Metric {
    Metric {
        name: name.map(Into::into),
        alias: Some(alias),
        value: Some(Value::Double(value)),
        ..Metric::default()
    }
}

fn send(
    host: &Host,
    gateway: &Arc<Gateway>,
    topic: &str,
    at: i64,
    seq: Option<u64>,
    metrics: Vec<Metric>,
) -> Vec<Payload> {
    let proto = Proto {
        timestamp: Some(1_767_225_600_000),
        seq,
        metrics,
        ..Proto::default()
    };
    let topic = Topic::parse(topic).unwrap();
    let payload = Payload {
        gateway: gateway.clone(),
        topic: String::new(),
        received_at: Timestamp::from_micros(T0 + at),
        raw: proto.encode_to_vec().into(),
        format: Format::Sparkplug(topic.clone()),
        decoded: Ok(Decoded::default()),
        reply: None,
        permit: None,
    };
    host.take(&topic, payload)
}

/// channel, value of every reading, and the codes of the events.
fn got(payloads: &[Payload]) -> (Vec<(String, f64)>, Vec<String>) {
    let (mut readings, mut events) = (Vec::new(), Vec::new());
    for decoded in payloads
        .iter()
        .filter_map(|payload| payload.decoded.as_ref().ok())
    {
        for column in &decoded.columns {
            readings.extend(column.values.iter().map(|value| (column.channel.clone(), *value)));
        }
        events.extend(
            decoded
                .events
                .iter()
                .map(|event| format!("{} {}", event.device, event.code)),
        );
    }
    (readings, events)
}

#[test]
fn data_that_overtook_its_birth_is_read_behind_it() {
    let (host, told) = host();
    let gateway = gateway();
    let born = send(
        &host,
        &gateway,
        "spBv1.0/g/NBIRTH/n",
        0,
        Some(0),
        vec![metric(Some("load"), 1, 0.5)],
    );
    assert_eq!(
        got(&born),
        (vec![("load".into(), 0.5)], vec!["g/n device_online".into()])
    );
    assert_eq!(
        send(
            &host,
            &gateway,
            "spBv1.0/g/DDATA/n/d",
            1,
            Some(2),
            vec![metric(None, 9, 2.0)]
        )
        .len(),
        0
    );
    let both = send(
        &host,
        &gateway,
        "spBv1.0/g/DBIRTH/n/d",
        2,
        Some(1),
        vec![metric(Some("temp"), 9, 1.0)],
    );
    assert_eq!(
        got(&both),
        (
            vec![("temp".into(), 1.0), ("temp".into(), 2.0)],
            vec!["g/n/d device_online".into()]
        )
    );
    assert!(told.lock().is_empty());
}

#[test]
fn a_gap_that_stays_open_releases_what_waits_and_asks_for_a_rebirth() {
    let (host, told) = host();
    let gateway = gateway();
    send(&host, &gateway, "spBv1.0/g/NBIRTH/n", 0, Some(0), vec![]);
    send(
        &host,
        &gateway,
        "spBv1.0/g/DDATA/n/d",
        0,
        Some(2),
        vec![metric(None, 9, 2.0)],
    );
    assert!(host.expire(Timestamp::from_micros(T0 + 1_999_999)).is_empty());
    let released = host.expire(Timestamp::from_micros(T0 + 2_000_000));
    assert_eq!(
        released[0].decoded.as_ref().unwrap().rejects[0].reason,
        "unknown_alias"
    );
    let told = told.lock();
    assert_eq!(told[0].0, "spBv1.0/g/NCMD/n");
    let asked = Proto::decode(told[0].1.clone()).unwrap();
    assert_eq!((asked.timestamp, asked.seq), (Some(1_767_225_602_000), None));
    assert_eq!(asked.metrics[0].name.as_deref(), Some("Node Control/Rebirth"));
    assert_eq!(asked.metrics[0].value, Some(Value::Boolean(true)));
    assert_eq!(asked.metrics[0].datatype, Some(datatype::BOOLEAN));
}

#[test]
fn a_new_birth_never_names_what_was_sent_before_it() {
    let (host, _) = host();
    let gateway = gateway();
    send(&host, &gateway, "spBv1.0/g/NBIRTH/n", 0, Some(0), vec![]);
    send(
        &host,
        &gateway,
        "spBv1.0/g/NDATA/n",
        0,
        Some(2),
        vec![metric(None, 9, 2.0)],
    );
    let both = send(
        &host,
        &gateway,
        "spBv1.0/g/NBIRTH/n",
        1,
        Some(0),
        vec![metric(Some("other"), 9, 1.0)],
    );
    assert_eq!(got(&both).0, [("other".into(), 1.0)]);
    assert_eq!(
        both[1].decoded.as_ref().unwrap().rejects[0].reason,
        "unknown_alias"
    );
}

#[test]
fn gateways_with_nodes_of_one_name_are_apart() {
    let (host, _) = host();
    let (one, other) = (gateway(), gateway());
    send(
        &host,
        &one,
        "spBv1.0/g/NBIRTH/n",
        0,
        Some(0),
        vec![metric(Some("a"), 1, 0.0)],
    );
    let read = send(
        &host,
        &other,
        "spBv1.0/g/NDATA/n",
        0,
        Some(1),
        vec![metric(None, 1, 2.0)],
    );
    assert_eq!(
        read[0].decoded.as_ref().unwrap().rejects[0].reason,
        "unknown_alias"
    );
}

#[test]
fn deaths_and_a_lost_connection_are_told_by_the_hosts_clock() {
    let (host, _) = host();
    let gateway = gateway();
    send(&host, &gateway, "spBv1.0/g/NBIRTH/n", 0, Some(0), vec![]);
    send(&host, &gateway, "spBv1.0/g/DBIRTH/n/d", 0, Some(1), vec![]);
    let died = send(&host, &gateway, "spBv1.0/g/NDEATH/n", 77, None, vec![]);
    let events = &died[0].decoded.as_ref().unwrap().events;
    assert_eq!(events.len(), 2);
    assert!(
        events
            .iter()
            .all(|event| event.ts == T0 + 77 && event.code == DEVICE_OFFLINE)
    );
    send(&host, &gateway, "spBv1.0/g/NBIRTH/n", 80, Some(0), vec![]);
    let lost = host.lost(gateway.id, Timestamp::from_micros(T0 + 99));
    assert_eq!(got(&lost).1, ["g/n device_offline"]);
    assert_eq!(host.lost(gateway.id, Timestamp::from_micros(T0 + 99)).len(), 0);
}

#[test]
fn what_waits_is_bounded() {
    let (host, _) = host();
    let gateway = gateway();
    send(&host, &gateway, "spBv1.0/g/NBIRTH/n", 0, Some(0), vec![]);
    let mut through = 0;
    for seq in 2..100 {
        through += send(
            &host,
            &gateway,
            "spBv1.0/g/DDATA/n/d",
            0,
            Some(seq),
            vec![metric(None, 9, 2.0)],
        )
        .len();
    }
    assert_eq!(through, 98 - MAX_WAITING);
}

#[test]
fn a_gateway_has_so_many_nodes_and_no_more() {
    let (host, _) = host();
    let gateway = gateway();
    for i in 0..MAX_NODES {
        send(
            &host,
            &gateway,
            &format!("spBv1.0/g/NBIRTH/n{i}"),
            0,
            Some(0),
            vec![],
        );
    }
    let refused = send(&host, &gateway, "spBv1.0/g/NBIRTH/one-more", 0, Some(0), vec![]);
    assert_eq!(refused[0].decoded.as_ref().unwrap_err().reason, "too_many_nodes");
}

#[test]
fn the_state_of_the_host() {
    let (host, _) = host();
    assert_eq!(host.state_topic(), "spBv1.0/STATE/forewarn");
    let online: serde_json::Value = serde_json::from_slice(&host.online()).unwrap();
    assert_eq!(
        (&online["online"], online["timestamp"].as_i64()),
        (&true.into(), Some(host.since))
    );
    let offline: serde_json::Value =
        serde_json::from_slice(&host.offline(Timestamp::from_micros(5_000))).unwrap();
    assert_eq!(offline, json!({"online": false, "timestamp": 5}));
    let settings = Settings {
        host_id: "a/b".into(),
        ..Settings::default()
    };
    assert!(settings.check().unwrap_err().to_string().contains("host_id"));
}
