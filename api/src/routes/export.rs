//! Readings of any channels and range as a file, streamed.
//!
//! Each page is read in a transaction of its own, opened with the caller's token: a slow client holds
//! no transaction, and a token that is revoked ends the stream.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use models::db::history::copy;
use models::db::history::tree::ChannelPlace;
use models::id::AssetId;
use models::time::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::history_state::chosen;
use super::range;
use crate::error::Problem;
use crate::export::{Encoder, ExportFormat};
use crate::extract::{Query, Tenant, bearer, may::AssetsRead};
use crate::state::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export))
}

/// Channels of one file.
const MOST_CHANNELS: i64 = 100_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    #[serde(default)]
    #[param(inline)]
    format: ExportFormat,
    /// `chn_…` by comma; all channels when neither this nor an asset is given.
    channel_id: Option<String>,
    /// The channels of this asset and of all below it.
    asset_id: Option<AssetId>,
    /// RFC 3339 or seconds since 1970; a day before `to` when left out.
    from: Option<String>,
    /// Exclusive; now when left out.
    to: Option<String>,
}

/// Readings of every quality as CSV, Parquet or Arrow stream: gateway, device, channel, unit, ts, value,
/// quality; channel by channel, oldest first. The whole range is streamed, however long. A file that was cut
/// short by an error has no proper end: Parquet and Arrow readers tell, and the connection is closed unfinished.
#[utoipa::path(get, path = "/v1/export", operation_id = "export_readings", tag = "channels", params(ExportQuery),
    responses((status = 200, description = "The file", content((String = "text/csv"),
        (Vec<u8> = "application/vnd.apache.parquet"), (Vec<u8> = "application/vnd.apache.arrow.stream")))),
    security(("bearer" = ["assets:read"])))]
async fn export(
    State(app): State<App>,
    headers: HeaderMap,
    mut tenant: Tenant<AssetsRead>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let (from, to) = range(query.from.as_deref(), query.to.as_deref(), 86_400.0)?;
    let places = chosen(
        &mut tenant,
        query.channel_id.as_deref(),
        query.asset_id,
        MOST_CHANNELS,
    )
    .await?;
    drop(tenant);
    let token = bearer(&headers)?.to_owned();
    let format = query.format;
    let name = format!("attachment; filename=\"readings.{}\"", format.extension());
    let body = Body::from_stream(pages(app, token, places, from, to, format));
    Ok((
        [
            (CONTENT_TYPE, format.content_type()),
            (CONTENT_DISPOSITION, name.as_str()),
        ],
        body,
    )
        .into_response())
}

fn pages(
    app: App,
    token: String,
    places: Vec<ChannelPlace>,
    from: Timestamp,
    to: Timestamp,
    format: ExportFormat,
) -> impl futures::Stream<Item = io::Result<Bytes>> {
    async_stream::try_stream! {
        let failed = |error: anyhow::Error| {
            tracing::error!(%error, "an export is cut short");
            io::Error::other(error)
        };
        let mut encoder = Encoder::new(format).map_err(failed)?;
        let mut page = Vec::new();
        let mut places = places.iter().peekable();
        let mut at = from;
        while places.peek().is_some() {
            let mut tenant = Tenant::<AssetsRead>::open(&app, &token)
                .await
                .map_err(|problem| failed(anyhow::anyhow!(problem.detail)))?;
            // Many small channels share a transaction; a big one fills it alone.
            let mut budget = copy::PAGE;
            while let Some(place) = places.peek() {
                page.clear();
                copy::page(tenant.db(), place.id, at, to, budget, &mut page)
                    .await
                    .map_err(|error| failed(error.into()))?;
                encoder.push(place, &page).map_err(failed)?;
                let got = i32::try_from(page.len()).unwrap_or(i32::MAX);
                let whole = got < budget;
                match page.last() {
                    Some(last) if !whole => at = last.ts + std::time::Duration::from_micros(1),
                    _ => {
                        at = from;
                        places.next();
                    }
                }
                budget -= got;
                if budget <= 0 {
                    break;
                }
            }
            drop(tenant);
            let bytes = encoder.take();
            if !bytes.is_empty() {
                yield Bytes::from(bytes);
            }
        }
        let rest = encoder.finish().map_err(failed)?;
        if !rest.is_empty() {
            yield Bytes::from(rest);
        }
    }
}
