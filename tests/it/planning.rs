//! Plans where the clocks change, and where a site's clocks are changed: made through the API, released and
//! ticketed by analytics' own passes at chosen moments.

use models::db::Role;
use models::time::Timestamp;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::path::Api;
use crate::plant::Plant;
use crate::stack::Stack;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Passes every hour from one moment to another, the last one included.
async fn hours(pool: &PgPool, from: &str, to: &str) {
    let (mut now, to) = (at(from), at(to));
    while now <= to {
        analytics::meter::run_once(pool, now).await.unwrap();
        analytics::dispatch::run_once(pool, now).await.unwrap();
        now = now.plus_seconds(3600.0);
    }
}

/// Every occurrence of the plan with its ticket's due moment, by number.
async fn made(api: &Api, plan: &str) -> Vec<(i64, String, String)> {
    let list = api
        .get(&format!("/v1/occurrences?plan_id={plan}&limit=200"))
        .await;
    let mut made = Vec::new();
    for one in list["data"].as_array().unwrap() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ticket = api.get(&format!("/v1/tickets/{}", text(&one["ticket_id"]))).await;
        made.push((
            one["sequence"].as_i64().unwrap(),
            text(&one["due_date"]),
            text(&ticket["due_at"]),
        ));
    }
    made.sort();
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_plan_is_due_once_a_day_whatever_the_clocks_do() {
    let stack = Stack::api_alone().await;
    let plant = Plant::register(&stack.database).await;
    let api = Api::sign_in(&stack).await;
    let pool = stack.database.pool(Role::Analytics);
    let site = api.get("/v1/sites").await["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let move_to = async |zone: &str| {
        let body = json!({ "time_zone": zone, "week": { "mon": [["06:00", "14:00"]] } });
        let path = format!("/v1/sites/{site}/calendar");
        assert_eq!(api.call("PUT", &path, Some(body)).await["time_zone"], zone);
    };
    // On 4 November 2018 the clocks of São Paulo went from 23:59 to 01:00: midnight, where a day ends, was
    // left out, and that day had 23 hours.
    move_to("America/Sao_Paulo").await;
    let plan = json!({ "asset_id": plant.asset, "name": "Look at it", "basis": "fixed", "every_days": 1,
                       "open_instance": "stack", "anchor_date": "2018-11-01" });
    let plan = api.call("POST", "/v1/plans", Some(plan)).await;
    let id = plan["id"].as_str().unwrap().to_owned();
    hours(&pool, "2018-11-02T12:00:00Z", "2018-11-05T12:00:00Z").await;
    let of = |sequence: i64, day: &str, due: &str| (sequence, day.to_owned(), due.to_owned());
    let gap = [
        of(1, "2018-11-02", "2018-11-03T03:00:00Z"),
        of(2, "2018-11-03", "2018-11-04T03:00:00Z"),
        of(3, "2018-11-04", "2018-11-05T02:00:00Z"),
        of(4, "2018-11-05", "2018-11-06T02:00:00Z"),
    ];
    assert_eq!(made(&api, &id).await, gap);

    // The site moves to clocks where it is tomorrow already. What was made keeps its day and moment; the
    // next one comes when its day has come there.
    move_to("Asia/Tokyo").await;
    hours(&pool, "2018-11-05T13:00:00Z", "2018-11-06T12:00:00Z").await;
    let mut all = gap.to_vec();
    all.push(of(5, "2018-11-06", "2018-11-06T15:00:00Z"));
    assert_eq!(made(&api, &id).await, all);

    // And to clocks where it is yesterday again: no day is made a second time, none is left out.
    move_to("Pacific/Honolulu").await;
    hours(&pool, "2018-11-06T13:00:00Z", "2018-11-08T12:00:00Z").await;
    all.push(of(6, "2018-11-07", "2018-11-08T10:00:00Z"));
    all.push(of(7, "2018-11-08", "2018-11-09T10:00:00Z"));
    assert_eq!(made(&api, &id).await, all);
    pool.close().await;
    stack.stop().await;
}
