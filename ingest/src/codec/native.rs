//! The native batch: protobuf in a zstd frame.

use std::error::Error;

use models::wire::{Batch, BatchError};

use super::{Decoded, Envelope, NamedColumn, NamedEvent, Undecodable};

/// # Errors
/// When the payload is not a batch. Nothing in it can be used then: not even its number.
pub fn decode(payload: &[u8]) -> Result<Decoded, Undecodable> {
    let batch = Batch::decode_compressed(payload).map_err(refuse)?;
    let columns = batch
        .columns
        .into_iter()
        .map(|column| NamedColumn {
            ts: column.timestamps().collect(),
            device: column.device,
            channel: column.channel,
            unit: (!column.unit.is_empty()).then_some(column.unit),
            values: column.values,
            qualities: column.qualities,
        })
        .collect();
    let events = batch
        .events
        .into_iter()
        .map(|event| NamedEvent {
            device: event.device,
            ts: event.ts,
            code: event.code,
            severity: i16::try_from(event.severity).unwrap_or(if event.severity < 0 {
                i16::MIN
            } else {
                i16::MAX
            }),
            message: (!event.message.is_empty()).then_some(event.message),
        })
        .collect();
    Ok(Decoded {
        envelope: Some(Envelope {
            epoch: batch.epoch,
            seq: batch.seq,
            floor: batch.floor,
        }),
        sent_at: (batch.sent_at != 0).then_some(batch.sent_at),
        columns,
        events,
        rejects: Vec::new(),
    })
}

fn refuse(error: BatchError) -> Undecodable {
    let reason = match &error {
        BatchError::Zstd(_) => "malformed_zstd",
        BatchError::Protobuf(_) => "malformed_protobuf",
        _ => "malformed_batch",
    };
    let detail = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    Undecodable::new(reason, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(decode(b"nonsense").unwrap_err().reason, "malformed_zstd");
        let noise = zstd::bulk::compress(&[0xff; 40], 1).unwrap();
        assert_eq!(decode(&noise).unwrap_err().reason, "malformed_protobuf");
        let zero = Batch::default().encode_compressed(1).unwrap();
        let error = decode(&zero).unwrap_err();
        assert_eq!(
            (error.reason, error.detail.as_str()),
            ("malformed_batch", "sequence number 0: they start at 1")
        );
    }
}
