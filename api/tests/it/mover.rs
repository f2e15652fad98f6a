//! A ticket on its way through its states.

use models::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Reply, Server};
use crate::plant::{PICTURE, Plant};

pub fn in_hours(hours: f64) -> Timestamp {
    Timestamp::now().plus_seconds(hours * 3600.0)
}

/// A ticket with somebody's token: moves it with the version it has.
pub struct Mover<'a> {
    pub server: &'a Server,
    pub token: String,
    pub path: String,
    pub id: String,
}

impl<'a> Mover<'a> {
    pub async fn new(server: &'a Server, token: &str, body: Value) -> Mover<'a> {
        let ticket = server.post("/v1/tickets", token, body).await.expect(201);
        let id = ticket["id"].as_str().unwrap().to_owned();
        Self {
            server,
            token: token.to_owned(),
            path: format!("/v1/tickets/{id}"),
            id,
        }
    }

    pub async fn get(&self) -> Value {
        self.server.get(&self.path, &self.token).await.expect(200)
    }

    pub async fn step(&self, body: Value) -> Reply {
        let etag = self
            .server
            .get(&self.path, &self.token)
            .await
            .header("etag")
            .to_owned();
        let headers = [("if-match", etag.as_str())];
        let path = format!("{}/transitions", self.path);
        self.server
            .send(Method::POST, &path, Some(&self.token), Some(&body), &headers)
            .await
    }

    pub async fn go(&self, steps: &[Value]) {
        for body in steps {
            let reply = self.step(body.clone()).await;
            assert_eq!(reply.status, 200, "{body} {:#}", reply.body);
        }
    }

    pub async fn missing(&self, body: Value) -> Vec<String> {
        let problem = self.step(body).await.refused(422, "refused");
        problem["missing"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["code"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What the list of transitions says of one.
    pub async fn offer(&self, to: &str) -> Value {
        let path = format!("{}/transitions", self.path);
        let listed = self.server.get(&path, &self.token).await.expect(200);
        let mut all = listed["data"].as_array().unwrap().iter();
        all.find(|one| one["to"] == to).unwrap().clone()
    }

    pub async fn post(&self, what: &str, body: Value) -> Reply {
        self.server
            .post(&format!("{}/{what}", self.path), &self.token, body)
            .await
    }

    pub async fn upload(&self, name: &str, media_type: &str, bytes: &'static [u8]) -> reqwest::Response {
        let path = format!("{}/attachments?name={name}", self.path);
        self.server
            .http
            .post(self.server.url(&path))
            .bearer_auth(&self.token)
            .header("content-type", media_type)
            .body(bytes)
            .send()
            .await
            .unwrap()
    }

    pub async fn photo(&self) -> String {
        let reply = self.upload("lock.png", "image/png", PICTURE).await;
        assert_eq!(reply.status(), 201);
        reply.json::<Value>().await.unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

pub fn assigned(plant: &Plant) -> [Value; 4] {
    [
        json!({ "to": "accepted" }),
        json!({ "to": "planned" }),
        json!({ "to": "scheduled", "scheduled_start": in_hours(-1.0), "scheduled_end": in_hours(3.0) }),
        json!({ "to": "assigned", "assignee_id": plant.admin }),
    ]
}

pub fn with_task(plant: &Plant) -> Value {
    json!({ "asset_id": plant.asset, "title": "Weld the bracket", "tasks": [{ "text": "weld" }] })
}
