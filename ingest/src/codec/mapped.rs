//! JSON of a shape that only its gateway knows, by the gateway's mapping.

use models::mapping::{self, Route};
use models::time::Timestamp;

use super::{Columns, Decoded, Reject, Undecodable};

/// # Errors
/// When the payload is not JSON, or what the route speaks of is not in it.
pub fn decode(
    route: &Route,
    topic: &str,
    payload: &[u8],
    received_at: Timestamp,
) -> Result<Decoded, Undecodable> {
    let captures = mapping::captures(&route.topic, topic).ok_or_else(|| {
        Undecodable::new(
            "mapping_misses",
            format!("the route for `{}` doesn't match the topic", route.topic),
        )
    })?;
    let mapped = mapping::apply(route, &captures, topic, payload, received_at.micros())
        .map_err(|failure| Undecodable::new(failure.reason, failure.detail))?;
    let mut columns = Columns::new();
    for row in &mapped.readings {
        columns.push(
            &row.device,
            &row.channel,
            row.unit.as_deref(),
            row.ts,
            row.value,
            0,
        );
    }
    let rejects = mapped
        .misfits
        .into_iter()
        .map(|misfit| Reject {
            device: misfit.device,
            channel: misfit.channel,
            unit: misfit.unit,
            ts: Some(misfit.ts),
            value: misfit.value,
            quality: 0,
            reason: "not_a_number",
            detail: misfit.detail,
        })
        .collect();
    Ok(Decoded {
        columns: columns.finish(),
        rejects,
        ..Decoded::default()
    })
}
