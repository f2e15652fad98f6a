//! The public API as a program sees it.

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::demo::SignIn;

pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// A refusal of the rules, with what is missing.
#[derive(Debug)]
pub(super) struct Refused {
    pub detail: String,
    /// Code and what to do.
    pub missing: Vec<(String, String)>,
}

impl Client {
    pub(super) async fn sign_in(url: &str, sign_in: &SignIn) -> anyhow::Result<Self> {
        let mut client = Self {
            http: reqwest::Client::new(),
            url: url.trim_end_matches('/').to_owned(),
            token: String::new(),
        };
        let body = json!({ "email": sign_in.email, "password": sign_in.password, "tenant": sign_in.tenant });
        let session = client.must(Method::POST, "/v1/sign-in", Some(&body)).await?;
        client.token = session["token"]
            .as_str()
            .context("the sign-in gave no token")?
            .to_owned();
        Ok(client)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        version: Option<String>,
    ) -> anyhow::Result<(StatusCode, Option<String>, Value)> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(version) = version {
            request = request.header("if-match", version);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{method} {path}: is Forewarn running at {}?", self.url))?;
        let etag = answer
            .headers()
            .get("etag")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let status = answer.status();
        let text = answer.text().await?;
        Ok((status, etag, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    pub(super) async fn must(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, _, answer) = self.send(method.clone(), path, body, None).await?;
        if !status.is_success() {
            bail!(
                "{method} {path}: {status}: {}",
                answer["detail"].as_str().unwrap_or("no reason given")
            );
        }
        Ok(answer)
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.must(Method::GET, path, None).await
    }

    pub(super) async fn get_if_there(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let (status, _, answer) = self.send(Method::GET, path, None, None).await?;
        Ok(status.is_success().then_some(answer))
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.must(Method::POST, path, Some(&body)).await
    }

    /// An order about something that has a version: read, then ordered for what was read. Once more when
    /// somebody else (the plant never sleeps) was faster.
    pub(super) async fn order(&self, path: &str, verb: &str, body: Value) -> anyhow::Result<Value> {
        match self.try_order(path, verb, body).await? {
            Ok(answer) => Ok(answer),
            Err(refused) => bail!("POST {path}/{verb}: {}", refused.detail),
        }
    }

    pub(super) async fn try_order(
        &self,
        path: &str,
        verb: &str,
        body: Value,
    ) -> anyhow::Result<Result<Value, Refused>> {
        for _ in 0..10 {
            let (_, etag, _) = self.send(Method::GET, path, None, None).await?;
            let order = format!("{path}/{verb}");
            let (status, _, answer) = self.send(Method::POST, &order, Some(&body), etag).await?;
            if status == StatusCode::PRECONDITION_FAILED {
                continue;
            }
            if status.is_success() {
                return Ok(Ok(answer));
            }
            let missing = answer["missing"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| (super::text(&one["code"]), super::text(&one["detail"])))
                .collect();
            return Ok(Err(Refused {
                detail: answer["detail"].as_str().unwrap_or("no reason given").to_owned(),
                missing,
            }));
        }
        bail!("POST {path}/{verb}: somebody else was faster ten times in a row")
    }
}
