//! A ticket from open to closed: each step is asked for, and what it lacks is supplied.

use anyhow::bail;
use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Refused};
use super::{Teller, text};

fn in_hours(hours: f64) -> Timestamp {
    Timestamp::now().plus_seconds(hours * 3600.0)
}

/// What the repair of a bearing takes.
const PART: &str = "6308-2RS";

struct Ticket<'a> {
    client: &'a Client,
    path: String,
    me: String,
}

/// Leads a ticket to its end, from wherever it stands.
pub(super) async fn do_ticket(client: &Client, id: &str, teller: &mut Teller<'_>) -> anyhow::Result<()> {
    let me = client.get("/v1/me").await?;
    let me = [&me["user"]["id"], &me["id"], &me["user_id"]]
        .iter()
        .find_map(|id| id.as_str())
        .unwrap_or_default()
        .to_owned();
    let ticket = Ticket {
        client,
        path: format!("/v1/tickets/{id}"),
        me,
    };
    let shown = ticket.show().await?;
    teller
        .say(format!(
            "Ticket #{}: {} ({} priority).",
            shown["number"],
            text(&shown["title"]),
            text(&shown["priority"])
        ))
        .await?;
    teller.chapter("The work is planned").await?;
    ticket.prepare(teller).await?;
    let mut doing = false;
    for _ in 0..40 {
        let shown = ticket.show().await?;
        let status = text(&shown["status"]);
        let Some(order) = ticket.next(&status) else {
            teller
                .say(format!("Ticket #{} is {status}.", shown["number"]))
                .await?;
            return Ok(());
        };
        if status == "in_progress" && !doing {
            doing = true;
            teller.chapter("The technician works").await?;
        }
        match client
            .try_order(&ticket.path, "transitions", order.clone())
            .await?
        {
            Ok(moved) => {
                teller
                    .say(format!("{status} -> {}", text(&moved["status"])))
                    .await?;
                if moved["status"] == "accepted" {
                    ticket.show_reserved(teller).await?;
                }
            }
            Err(refused) => ticket.supply(&refused, teller).await?,
        }
    }
    bail!("the ticket doesn't come to its end")
}

impl Ticket<'_> {
    async fn show(&self) -> anyhow::Result<Value> {
        self.client.get(&self.path).await
    }

    async fn post(&self, what: &str, body: Value) -> anyhow::Result<Value> {
        self.client.post(&format!("{}/{what}", self.path), body).await
    }

    fn next(&self, status: &str) -> Option<Value> {
        Some(match status {
            "open" => json!({ "to": "accepted" }),
            "accepted" | "waiting_parts" => json!({ "to": "planned" }),
            "planned" | "waiting_window" => {
                json!({ "to": "scheduled", "scheduled_start": in_hours(-0.1), "scheduled_end": in_hours(4.0) })
            }
            "scheduled" => json!({ "to": "assigned", "assignee_id": self.me }),
            "assigned" | "on_hold" => json!({ "to": "in_progress" }),
            "in_progress" => json!({
                "to": "completed", "cause_code": "lubrication_lost", "cause": "the grease had dried out",
                "remedy_code": "replaced", "remedy": "bearing replaced and greased", "mechanism_code": "wear",
                "detection_code": "prediction", "outcome": "confirmed_prevented",
            }),
            "completed" => json!({ "to": "closed" }),
            _ => return None,
        })
    }

    /// Tasks of every kind that a technician meets, and the people.
    async fn prepare(&self, teller: &mut Teller<'_>) -> anyhow::Result<()> {
        for task in [
            json!({ "kind": "check", "text": "lock the drive, prove it dead" }),
            json!({ "kind": "number", "text": "vibration after the work", "max_value": 4.5, "unit": "mm/s" }),
            json!({ "kind": "signature", "text": "signature" }),
        ] {
            self.post("tasks", task).await?;
        }
        teller
            .say("Three tasks are added: a check, a measurement with its limit, a signature.")
            .await?;
        self.equip(teller).await?;
        let path = format!("{}/candidates", self.path);
        let mut candidates = self.client.get(&path).await?;
        let fit = |one: &Value| one["fit"] == true;
        if !candidates["data"]
            .as_array()
            .is_some_and(|list| list.iter().any(fit))
        {
            self.roster(teller).await?;
            candidates = self.client.get(&path).await?;
        }
        for one in candidates["data"].as_array().into_iter().flatten().take(3) {
            let word = if one["fit"] == true { "can do it" } else { "can't" };
            let reasons = if one["fit"] == true {
                &one["reasons"]
            } else {
                &one["refusals"]
            };
            let reasons: Vec<String> = reasons
                .as_array()
                .into_iter()
                .flatten()
                .map(|reason| {
                    reason
                        .as_str()
                        .map_or_else(|| text(&reason["detail"]), str::to_owned)
                })
                .collect();
            teller
                .say(format!("{} {word}: {}.", text(&one["name"]), reasons.join("; ")))
                .await?;
        }
        Ok(())
    }

    /// Says which parts the repair takes, and how many there are; what was said before stays.
    async fn equip(&self, teller: &mut Teller<'_>) -> anyhow::Result<()> {
        let shown = self.show().await?;
        let Some(mode) = shown["failure_mode"]["id"].as_str() else {
            return Ok(());
        };
        let path = format!("/v1/assets/{}/bom", text(&shown["asset"]["id"]));
        let bom = self.client.get(&path).await?;
        if bom["data"].as_array().is_some_and(|lines| !lines.is_empty()) {
            return Ok(());
        }
        let lines = json!({ "lines": [{ "part_number": PART, "failure_mode_id": mode, "quantity": 2.0,
            "description": "Deep groove ball bearing", "lead_time_days": 14.0 }] });
        self.client.must(Method::PUT, &path, Some(&lines)).await?;
        let counted = json!({ "lines": [{ "part_number": PART, "warehouse": "main", "on_hand": 6.0,
            "description": "Deep groove ball bearing", "as_of": Timestamp::now() }] });
        self.client.post("/v1/parts/stock", counted).await?;
        teller
            .say(format!(
                "The bill of materials names two of {PART} for it; the store has counted six."
            ))
            .await
    }

    /// What accepting has set aside.
    async fn show_reserved(&self, teller: &mut Teller<'_>) -> anyhow::Result<()> {
        let parts = self.client.get(&format!("{}/parts", self.path)).await?;
        for one in parts["reservations"].as_array().into_iter().flatten() {
            let (quantity, part) = (&one["quantity"], text(&one["part_number"]));
            teller
                .say(format!(
                    "Reserved: {quantity} of {part}, {}.",
                    text(&one["reason"])
                ))
                .await?;
        }
        Ok(())
    }

    /// Does what a refusal says is missing.
    async fn supply(&self, refused: &Refused, teller: &mut Teller<'_>) -> anyhow::Result<()> {
        if refused.missing.is_empty() {
            bail!("the ticket is stuck: {}", refused.detail);
        }
        teller.say("Not yet. What is missing:").await?;
        for (_, detail) in &refused.missing {
            teller.say(format!("  - {detail}")).await?;
        }
        let codes: Vec<&str> = refused.missing.iter().map(|(code, _)| code.as_str()).collect();
        let mut helped = false;
        if codes.contains(&"tasks.open") {
            self.do_tasks(teller).await?;
            helped = true;
        }
        if codes.contains(&"parts_posted") {
            helped |= self.post_parts(teller).await?;
        }
        if codes.contains(&"parts") {
            helped |= self.release_parts(teller).await?;
        }
        if codes.contains(&"downtime") {
            helped |= self.confirm_downtime(teller).await?;
        }
        if codes.contains(&"permit") {
            self.ask_permit(teller).await?;
            helped = true;
        }
        if codes.contains(&"coding.failure_mode") {
            helped |= self.find_mode(teller).await?;
        }
        if codes.iter().any(|code| code.starts_with("assignee.")) {
            helped |= self.roster(teller).await?;
        }
        if helped {
            return Ok(());
        }
        bail!("the story can't supply {}", codes.join(", "))
    }

    async fn do_tasks(&self, teller: &mut Teller<'_>) -> anyhow::Result<()> {
        let shown = self.show().await?;
        for task in shown["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|task| task["done_at"].is_null())
        {
            let path = format!("{}/tasks/{}/done", self.path, text(&task["id"]));
            let body = match task["kind"].as_str() {
                Some("number") => json!({ "result": 2.1 }),
                Some("signature") => json!({ "result": "D. Planner" }),
                Some("meter" | "photo") => bail!("“{}” needs a person at the machine", text(&task["text"])),
                _ => json!({ "result": true }),
            };
            self.client.post(&path, body).await?;
            teller.say(format!("Done: {}.", text(&task["text"]))).await?;
        }
        Ok(())
    }

    async fn post_parts(&self, teller: &mut Teller<'_>) -> anyhow::Result<bool> {
        let parts = self.client.get(&format!("{}/parts", self.path)).await?;
        let mut any = false;
        for one in parts["reservations"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["status"] == "active")
        {
            let body = json!({ "part_number": one["part_number"], "warehouse": "main", "quantity": one["quantity"] });
            self.post("parts/postings", body).await?;
            teller
                .say(format!(
                    "Used: {} of {}.",
                    one["quantity"],
                    text(&one["part_number"])
                ))
                .await?;
            any = true;
        }
        Ok(any)
    }

    async fn release_parts(&self, teller: &mut Teller<'_>) -> anyhow::Result<bool> {
        let parts = self.client.get(&format!("{}/parts", self.path)).await?;
        let mut any = false;
        for one in parts["reservations"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["status"] == "active")
        {
            let path = format!("{}/parts/reservations/{}", self.path, text(&one["id"]));
            self.client.must(Method::DELETE, &path, Some(&json!({}))).await?;
            teller
                .say(format!(
                    "{} is bought elsewhere: the reservation is given back.",
                    text(&one["part_number"])
                ))
                .await?;
            any = true;
        }
        Ok(any)
    }

    async fn confirm_downtime(&self, teller: &mut Teller<'_>) -> anyhow::Result<bool> {
        let shown = self.show().await?;
        let path = format!(
            "/v1/downtime?unconfirmed=true&asset_id={}",
            text(&shown["asset"]["id"])
        );
        let open = self.client.get(&path).await?;
        let mut any = false;
        for one in open["data"].as_array().into_iter().flatten() {
            let path = format!("/v1/downtime/{}", text(&one["id"]));
            let body = json!({ "reason": "maintenance", "note": "stopped for the repair", "ticket_id": shown["id"] });
            self.client.must(Method::PATCH, &path, Some(&body)).await?;
            teller
                .say(format!(
                    "The stop from {} is confirmed: maintenance.",
                    text(&one["started_at"])
                ))
                .await?;
            any = true;
        }
        Ok(any)
    }

    async fn ask_permit(&self, teller: &mut Teller<'_>) -> anyhow::Result<()> {
        let shown = self.show().await?;
        let body = json!({ "ticket_id": shown["id"], "work": "open the bearing housing", "hazards": "hot surface",
            "precautions": "cooled down, gloves", "likelihood": 1, "consequence": 2,
            "valid_from": in_hours(-0.1), "valid_until": in_hours(8.0) });
        let permit = self.client.post("/v1/work-permits", body).await?;
        teller
            .say(format!(
                "A permit is asked for: {} risk, {}.",
                text(&permit["risk"]),
                text(&permit["status"])
            ))
            .await
    }

    /// Says which mode was found: the one that was expected.
    async fn find_mode(&self, teller: &mut Teller<'_>) -> anyhow::Result<bool> {
        let shown = self.show().await?;
        let Some(mode) = shown["failure_mode"]["id"].as_str() else {
            return Ok(false);
        };
        let mut order = self.next("in_progress").unwrap_or_default();
        order["found_failure_mode_id"] = json!(mode);
        match self.client.try_order(&self.path, "transitions", order).await? {
            Ok(_) => {
                teller
                    .say(format!(
                        "Found: {}, before it failed.",
                        text(&shown["failure_mode"]["name"])
                    ))
                    .await?;
                teller.say("in_progress -> completed").await?;
                Ok(true)
            }
            // Other things are missing as well: they come first, the mode the next time.
            Err(refused) => Ok(refused
                .missing
                .iter()
                .any(|(code, _)| !code.starts_with("coding."))),
        }
    }

    /// Enters the signed-in person as a technician with a shift now.
    async fn roster(&self, teller: &mut Teller<'_>) -> anyhow::Result<bool> {
        let path = format!("/v1/technicians/{}", self.me);
        let skills = json!({ "skills": ["general", "electricity", "hvac", "plumbing", "iot_install"] });
        self.client.must(Method::PUT, &path, Some(&skills)).await?;
        let shift = json!({ "user_id": self.me, "kind": "working", "starts_at": in_hours(-2.0), "ends_at": in_hours(8.0) });
        self.client.post("/v1/shifts", shift).await?;
        teller.say("The roster is completed: skills and a shift.").await?;
        Ok(true)
    }
}
