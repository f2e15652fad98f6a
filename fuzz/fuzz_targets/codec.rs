//! Payloads of gateways, of every codec: none ever panics, and what it returns is what the writer
//! relies on: columns of equal length, and no more readings than a payload may hold.

#![no_main]

use std::sync::{Arc, LazyLock};

use ingest::codec::{Format, MAX_READINGS, influx, thingsboard};
use ingest::sparkplug;
use libfuzzer_sys::fuzz_target;
use models::mapping::Route;
use models::time::Timestamp;

static FORMATS: LazyLock<Vec<Format>> = LazyLock::new(|| {
    let json = |channel: Option<&str>| Format::Json {
        device: "pump".to_owned(),
        channel: channel.map(str::to_owned),
    };
    let route: Route = serde_json::from_str(
        r#"{ "topic": "plant/+", "codec": "json", "device": "{/id}", "each": "/items",
             "time": { "pointer": "/ts", "format": "unix_ms" },
             "values": [{ "pointer": "/t", "channel": "temp", "unit": "Cel" }, { "pointer": "/more/*" }] }"#,
    )
    .expect("a good route");
    let mut formats = vec![
        Format::Native,
        json(None),
        json(Some("temp")),
        Format::Readings,
        Format::Influx(influx::Options::default()),
        Format::Senml { device: None },
        Format::Senml {
            device: Some("pump".to_owned()),
        },
        Format::Mapped {
            route: Arc::new(route),
            topic: "plant/a".to_owned(),
        },
    ];
    use thingsboard::Kind::{
        Attributes, Connect, Disconnect, GatewayAttributes, GatewayTelemetry, Telemetry,
    };
    for kind in [
        Telemetry,
        Attributes,
        GatewayTelemetry,
        GatewayAttributes,
        Connect,
        Disconnect,
    ] {
        formats.push(Format::ThingsBoard {
            kind,
            own: "gateway".to_owned(),
        });
    }
    for topic in [
        "NBIRTH/n",
        "NDATA/n",
        "NDEATH/n",
        "DBIRTH/n/d",
        "DDATA/n/d",
        "DDEATH/n/d",
    ] {
        let topic = sparkplug::Topic::parse(&format!("spBv1.0/g/{topic}")).expect("a good topic");
        formats.push(Format::Sparkplug(topic));
    }
    formats
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, payload)) = data.split_first() else {
        return;
    };
    let format = &FORMATS[usize::from(*choice) % FORMATS.len()];
    if let Ok(decoded) = format.decode(payload, Timestamp::from_secs(1_767_225_600)) {
        let native = matches!(format, Format::Native);
        assert!(native || decoded.readings() <= MAX_READINGS);
        for column in decoded.columns {
            assert_eq!(column.ts.len(), column.values.len());
            assert!(column.qualities.is_empty() || column.qualities.len() == column.values.len());
        }
    }
});
