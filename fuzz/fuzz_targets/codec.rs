//! Payloads of gateways: a codec never panics, and what it returns is what the writer relies on:
//! columns of equal length.

#![no_main]

use ingest::codec::Format;
use libfuzzer_sys::fuzz_target;
use models::time::Timestamp;

fuzz_target!(|data: &[u8]| {
    let Some((choice, payload)) = data.split_first() else {
        return;
    };
    let format = match choice % 4 {
        0 => Format::Native,
        1 => Format::Json {
            device: "pump".to_owned(),
            channel: None,
        },
        2 => Format::Json {
            device: "pump".to_owned(),
            channel: Some("temp".to_owned()),
        },
        _ => Format::Readings,
    };
    let payload = bytes::Bytes::copy_from_slice(payload);
    if let Ok(decoded) = format.decode(&payload, Timestamp::from_secs(1_767_225_600)) {
        for column in decoded.columns {
            assert_eq!(column.ts.len(), column.values.len());
            assert!(column.qualities.is_empty() || column.qualities.len() == column.values.len());
        }
    }
});
