//! One server on a port of its own, on a database of its own.

use std::time::Duration;

use api::config::Config;
use models::db::Role;
use models::db::testing::TestDatabase;
use reqwest::{Client, Method, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::plant::{PASSWORD, Plant};

/// How long anything may take. A bound, not a pace.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    pub database: TestDatabase,
    pub base: String,
    pub http: Client,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// A status and a JSON body; `null` where there was none.
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Reply {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Self {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
        }
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// A refusal of this type, well formed.
    #[track_caller]
    pub fn refused(self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        assert_eq!(
            self.body["type"],
            format!("/docs#problem-{name}"),
            "{:#}",
            self.body
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(
            self.body["trace_id"],
            self.headers["x-trace-id"].to_str().unwrap()
        );
        self.body
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        // The second test of the process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = TestDatabase::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let secret = SecretString::from("a secret for tests, long enough to be one");
        let mut attachments = config.attachments;
        if attachments.dir == api::config::Attachments::default().dir {
            attachments.dir = crate::plant::ATTACHMENTS.into();
        }
        let config = Config {
            attachments,
            jwt_secret: secret,
            signins_per_minute: config.signins_per_minute.max(1),
            ..config
        };
        let task = tokio::spawn(api::run(
            config,
            database.pool(Role::Api),
            listener,
            None,
            shutdown.clone(),
        ));
        let http = Client::builder().timeout(PATIENCE).build().unwrap();
        Self {
            database,
            base,
            http,
            shutdown,
            task,
        }
    }

    pub async fn plant(&self, slug: &str) -> Plant {
        Plant::new(&self.database.owner, slug).await
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the server stops")
            .unwrap()
            .unwrap();
        self.database.drop_now().await;
    }

    /// Runs a statement as the owner of the schema: what nobody can do through the API.
    pub async fn as_owner(&self, statement: &'static str) {
        sqlx::query(statement)
            .execute(&self.database.owner)
            .await
            .unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<&Value>) -> Reply {
        self.send(method, path, token, body, &[]).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Reply {
        self.call(Method::GET, path, Some(token), None).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(token), Some(&body)).await
    }

    /// A token of the person with this mail address.
    pub async fn sign_in(&self, email: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD });
        let session = self
            .call(Method::POST, "/v1/sign-in", None, Some(&body))
            .await
            .expect(200);
        session["token"].as_str().unwrap().to_owned()
    }
}
