//! The demo's story, told by the executable through the public API alone.

use models::time::Timestamp;
use serde_json::json;

use crate::path::{client, publish};
use crate::plant::{EMAIL, PASSWORD, Plant, TENANT};
use crate::processes::forewarn;
use crate::stack::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn a_wearing_bearing_ends_as_a_closed_ticket() {
    let stack = Stack::start("").await;
    let plant = Plant::register(&stack.database).await;
    let (mqtt, mut events) = client(&stack, &plant);
    let now = Timestamp::now();
    let hot: Vec<_> = (0..5)
        .map(|i| json!({ "ts": now.plus_seconds(f64::from(i) - 5.0).to_string(), "values": { "temperature": 95.0 } }))
        .collect();
    publish(&mqtt, &mut events, "fw/v1/me/json/pump-1", &hot).await;
    let dir = tempfile::tempdir().unwrap();
    let sign_in = json!({ "email": EMAIL, "password": PASSWORD, "tenant": TENANT });
    std::fs::write(dir.path().join("signin.json"), sign_in.to_string()).unwrap();
    let url = stack.http.clone();
    let told = tokio::task::spawn_blocking(move || {
        forewarn()
            .args(["demo", "story", "--fast", "--wait", "100", "--url", &url, "--dir"])
            .arg(dir.path())
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let page = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.status.success(),
        "{page}\n{}",
        String::from_utf8_lossy(&told.stderr)
    );
    for part in [
        "A machine wears",
        "Not yet. What is missing:",
        "do the task",
        "Reserved: 2.0 of 6308-2RS, by the bill of materials",
        "can do it",
        "Used: 2.0 of 6308-2RS",
        "completed -> closed [confirmed_prevented]",
        "Too hot",
    ] {
        assert!(page.contains(part), "“{part}” is not told:\n{page}");
    }
    let status: String = sqlx::query_scalar("SELECT status::text FROM ticket")
        .fetch_one(&stack.database.owner)
        .await
        .unwrap();
    assert_eq!(status, "closed");
    mqtt.disconnect().await.unwrap();
    stack.stop().await;
}
