//! Live changes as server-sent events.
//!
//! The outbox is the source: every change stands there in the transaction that made it, so nothing
//! is shown that was rolled back and nothing is missed. One listener for the whole process turns
//! PostgreSQL's notification into a counter; each stream wakes when it moves, reads its tenant's rows
//! after the last one it sent, and sleeps again. A stream holds no connection while it sleeps.
//!
//! A client that comes back says `Last-Event-ID` and gets what it missed. When that event is no
//! longer kept, it gets an event `reset` first: load everything anew.

use std::convert::Infallible;
use std::time::Duration;

use async_stream::stream;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use models::db::outbox::{self, Event as Change};
use models::db::overview;
use models::id::AssetId;
use models::tenant::Permission;
use models::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::principal::{Actor, Principal};
use crate::error::{Kind, Problem};
use crate::extract::may::SignedIn;
use crate::extract::{Query, Tenant};
use crate::state::App;

const HEARTBEAT: Duration = Duration::from_secs(15);
/// Rows of one reading.
const BATCH: i64 = 200;
/// When an older transaction is still open, its rows can't be shown yet: look again so soon.
const HELD: Duration = Duration::from_millis(200);
/// Notifications within this time are answered by one reading.
const GATHER: Duration = Duration::from_millis(30);
/// Without a notification, in case one was lost with its connection.
const SELDOM: Duration = Duration::from_secs(30);

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stream_changes))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StreamQuery {
    /// First parts of the kinds wanted, by comma: `alarm,ticket`. All when left out.
    topics: Option<String>,
    /// A token, for clients that can't send headers. Taken here only.
    access_token: Option<String>,
}

/// What happened, the data of each event.
#[derive(Serialize, ToSchema)]
pub struct StreamedChange {
    id: i64,
    #[schema(example = "ticket.created")]
    kind: String,
    at: Timestamp,
    /// Prefixed id of what changed.
    subject: String,
    asset_id: Option<AssetId>,
    data: Value,
}

/// Who may hear of which kinds.
fn permission_of(kind: &str) -> Permission {
    match kind.split('.').next().unwrap_or_default() {
        "alarm" => Permission::AlarmsRead,
        "ticket" | "part" => Permission::TicketsRead,
        "webhook" => Permission::IntegrationsRead,
        "case" | "prediction" | "decision" => Permission::CasesRead,
        "plan" | "occurrence" | "meter" => Permission::PlansRead,
        "gateway" | "device" | "ledger" | "dead_letter" => Permission::IngestRead,
        _ => Permission::AssetsRead,
    }
}

struct Filter {
    topics: Option<Vec<String>>,
}

impl Filter {
    fn shows(&self, principal: &Principal, kind: &str) -> bool {
        let topic = kind.split('.').next().unwrap_or_default();
        self.topics
            .as_ref()
            .is_none_or(|topics| topics.iter().any(|wanted| wanted == topic))
            && principal.may(permission_of(kind))
    }
}

/// Where a stream begins.
enum Start {
    After(i64),
    Reset(i64),
}

/// Changes as they are committed (`text/event-stream`): `event` is the kind, `id` resumes by
/// `Last-Event-ID`, `data` is the JSON of the change. A comment every 15 seconds keeps the line open.
/// The stream ends with its token.
#[utoipa::path(get, path = "/v1/stream", operation_id = "stream_changes", tag = "stream", params(
        StreamQuery, ("last-event-id" = Option<String>, Header, description = "Id of the last event received.")),
    responses((status = 200, body = StreamedChange, content_type = "text/event-stream")),
    security(("bearer" = [])))]
async fn stream_changes(
    State(app): State<App>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .map(|(_, token)| token.trim().to_owned())
        .or(query.access_token)
        .ok_or_else(|| {
            Problem::new(
                Kind::Unauthenticated,
                "send Authorization, or access_token in the query",
            )
        })?;
    let mut tenant = Tenant::<SignedIn>::open(&app, &token).await?;
    let place = app
        .streams()
        .try_acquire_owned()
        .map_err(|_| Problem::new(Kind::TooManyRequests, "too many live streams are open").after(30))?;
    // Before the start is read: what is committed in between must wake the stream.
    let wake = app.outbox();
    let start = match headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        None => Start::After(outbox::head(tenant.db()).await?),
        Some(text) => {
            let id: i64 = text.parse().map_err(|_| {
                Problem::new(Kind::InvalidHeader, "Last-Event-ID is not an id of this stream")
            })?;
            if id == 0 || overview::outbox_has(tenant.db(), id).await? {
                Start::After(id)
            } else {
                Start::Reset(outbox::head(tenant.db()).await?)
            }
        }
    };
    drop(tenant);
    let topics = query
        .topics
        .map(|topics| topics.split(',').map(|topic| topic.trim().to_owned()).collect());
    let events = follow(app.clone(), token, Filter { topics }, start, wake, place);
    let body = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("heartbeat"));
    Ok(([("cache-control", "no-store"), ("x-accel-buffering", "no")], body).into_response())
}

fn follow(
    app: App,
    token: String,
    filter: Filter,
    start: Start,
    mut wake: watch::Receiver<u64>,
    place: tokio::sync::OwnedSemaphorePermit,
) -> impl futures::Stream<Item = Result<Event, Infallible>> {
    stream! {
        let _place = place;
        metrics::gauge!("forewarn_api_streams_open").increment(1.0);
        let _open = Closing;
        let mut after = match start {
            Start::After(id) => id,
            Start::Reset(id) => {
                yield Ok(Event::default().event("reset").id(id.to_string()).data("{}"));
                id
            }
        };
        loop {
            wake.borrow_and_update();
            let next = match read(&app, &token, after).await {
                // The token has ended or the person is no longer a member.
                Err(problem) if problem.kind == Kind::Unauthenticated => break,
                Err(problem) => {
                    tracing::warn!(detail = problem.detail, "live stream can't read, tries again");
                    SELDOM / 30
                }
                Ok((principal, changes, held)) => {
                    let full = changes.len() as i64 == BATCH;
                    for change in changes {
                        after = change.id;
                        if filter.shows(&principal, &change.kind) {
                            yield Ok(event(change));
                        }
                    }
                    if full {
                        continue;
                    }
                    let expires = match principal.actor {
                        Actor::Person { expires, .. } => expires.seconds_since(Timestamp::now()).max(0.0),
                        Actor::Key { .. } => f64::MAX,
                    };
                    if held { HELD } else { SELDOM.min(Duration::from_secs_f64(expires.min(3600.0))) }
                }
            };
            tokio::select! {
                () = app.shutdown().cancelled() => break,
                () = tokio::time::sleep(next) => {}
                changed = wake.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    tokio::time::sleep(GATHER).await;
                }
            }
        }
    }
}

/// Counts a stream down however it ends.
struct Closing;

impl Drop for Closing {
    fn drop(&mut self) {
        metrics::gauge!("forewarn_api_streams_open").decrement(1.0);
    }
}

/// The next changes, and whether more are there that can't be shown yet.
async fn read(app: &App, token: &str, after: i64) -> Result<(Principal, Vec<Change>, bool), Problem> {
    let mut tenant = Tenant::<SignedIn>::open(app, token).await?;
    let (changes, held) = outbox::read_or_wait(tenant.db(), after, BATCH).await?;
    Ok((tenant.principal.clone(), changes, held))
}

fn event(change: Change) -> Event {
    let (id, kind) = (change.id, change.kind.clone());
    let data = StreamedChange {
        id,
        kind: change.kind,
        at: change.at,
        subject: change.subject,
        asset_id: change.asset_id,
        data: change.data,
    };
    let event = Event::default().event(kind).id(id.to_string());
    let text = serde_json::to_string(&data).unwrap_or_else(|error| {
        tracing::error!(%error, id, "a change can't be written");
        "{}".into()
    });
    event.data(text)
}

/// Turns the database's notifications into a counter, for as long as the process runs.
///
/// # Errors
/// Never: a lost connection is opened again.
pub(crate) async fn listen(
    pool: PgPool,
    counter: watch::Sender<u64>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut pause = Duration::from_millis(200);
    loop {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(outbox::WAKE).await?;
            // What came while nobody listened.
            counter.send_modify(|count| *count += 1);
            loop {
                listener.recv().await?;
                counter.send_modify(|count| *count += 1);
            }
        };
        let ended: Result<(), sqlx::Error> = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            ended = listening => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "lost the database's notifications, connecting again");
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use models::id::{ApiKeyId, TenantId};

    use super::*;

    #[test]
    fn a_stream_shows_what_was_asked_for_and_is_allowed() {
        let scopes = vec![Permission::AlarmsRead, Permission::AssetsRead];
        let principal = Principal {
            tenant: TenantId::new(),
            actor: Actor::Key {
                id: ApiKeyId::new(),
                scopes,
            },
        };
        let all = Filter { topics: None };
        assert!(all.shows(&principal, "alarm.raised"));
        assert!(all.shows(&principal, "asset.health_changed"));
        assert!(!all.shows(&principal, "ticket.created"));
        let some = Filter {
            topics: Some(vec!["asset".into()]),
        };
        assert!(!some.shows(&principal, "alarm.raised"));
        assert!(some.shows(&principal, "asset.health_changed"));
    }
}
