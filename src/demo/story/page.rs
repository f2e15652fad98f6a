//! The history of a case as one page of text.

use std::fmt::Write;

use serde_json::Value;

use super::client::Client;
use super::text;

/// Everything that happened, oldest first, from the case, its alarms, predictions and tickets.
pub(super) async fn history(client: &Client, case: &str) -> anyhow::Result<String> {
    let shown = client.get(&format!("/v1/cases/{case}")).await?;
    let mut lines: Vec<(String, String)> = vec![(text(&shown["opened_at"]), "case      opened".to_owned())];
    for decision in shown["decisions"].as_array().into_iter().flatten() {
        lines.push((
            text(&decision["at"]),
            format!("dispatch  {}", text(&decision["reason"])),
        ));
    }
    for (list, kind, name) in [
        ("alarms", "alarms", "alarm"),
        ("predictions", "predictions", "predicted"),
        ("tickets", "tickets", "ticket"),
    ] {
        for one in shown[list].as_array().into_iter().flatten() {
            let detail = client.get(&format!("/v1/{kind}/{}", text(&one["id"]))).await?;
            for event in detail["events"].as_array().into_iter().flatten() {
                lines.push((text(&event["at"]), format!("{name:<9} {}", sentence(event))));
            }
        }
    }
    lines.sort();
    let mut page = String::new();
    let rule = "=".repeat(78);
    let _ = writeln!(page, "{rule}\n{}\n{rule}", text(&shown["title"]));
    for (at, line) in lines {
        let at = at.get(..19).unwrap_or(&at).replace('T', " ");
        let _ = writeln!(page, "{at}  {line}");
    }
    let _ = write!(page, "{rule}");
    Ok(page)
}

/// An event with the words that matter of it.
fn sentence(event: &Value) -> String {
    let detail = &event["detail"];
    let kind = text(&event["kind"]).replace('_', " ");
    let said = match (detail["from"].as_str(), detail["to"].as_str()) {
        (Some(from), Some(to)) => format!("{from} -> {to}"),
        _ => [
            "text",
            "name",
            "part_number",
            "reason",
            "title",
            "label",
            "status",
        ]
        .iter()
        .find_map(|field| detail[*field].as_str().filter(|text| !text.is_empty()))
        .unwrap_or_default()
        .to_owned(),
    };
    let mut line = if said.is_empty() {
        kind
    } else {
        format!("{kind}: {said}")
    };
    if let Some(reason) = detail["reason"].as_str().filter(|reason| !line.contains(reason)) {
        let _ = write!(line, " ({reason})");
    }
    if let Some(outcome) = detail["outcome"].as_str() {
        let _ = write!(line, " [{outcome}]");
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_becomes_a_line() {
        let event = |kind: &str, detail: Value| json!({ "kind": kind, "detail": detail });
        let moved = event(
            "transitioned",
            json!({ "from": "completed", "to": "closed", "reason": null, "outcome": "confirmed_prevented" }),
        );
        assert_eq!(
            sentence(&moved),
            "transitioned: completed -> closed [confirmed_prevented]"
        );
        assert_eq!(
            sentence(&event("task_done", json!({ "text": "grease" }))),
            "task done: grease"
        );
        assert_eq!(sentence(&event("opened", json!({}))), "opened");
    }
}
