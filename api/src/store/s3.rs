//! A bucket of an S3-compatible store.
//!
//! Three requests are all it takes: HEAD, PUT, GET of one object, signed with version 4. Each may be
//! repeated without harm, and is, when the store says that it is busy or the connection breaks.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::io::ReaderStream;

use super::{Found, hex, place, sigv4};
use crate::config::S3 as Settings;
use crate::tls;

/// Requests that the store was too busy for, or whose connection broke, are sent so often.
const ATTEMPTS: u32 = 4;
/// Before the second attempt; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Of a file, bytes.
const PART: usize = 64 << 10;
/// Bytes a second that a store must take.
const SLOWEST: u64 = 256 << 10;
/// Of an error's text.
const MOST_ERROR_BYTES: usize = 8 << 10;

/// What a request carries.
type Sent = UnsyncBoxBody<Bytes, io::Error>;

pub struct S3 {
    settings: Settings,
    secret: SecretString,
    /// With the bucket as its first label, or not.
    host: String,
    port: u16,
    /// `None` = plain HTTP.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// `Host`.
    authority: String,
    /// Of the path before an object's place, encoded.
    base: String,
    timeout: Duration,
}

/// Why a request got no answer to go on with.
enum Failure {
    /// Another attempt may succeed.
    Passing(anyhow::Error),
    Final(anyhow::Error),
}

impl S3 {
    /// # Errors
    /// Names the key of the configuration that is wrong.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let url = settings.checked()?;
        let secret = settings.secret()?;
        let mut host = url.host_str().unwrap_or_default().to_owned();
        let mut base = "/".to_owned();
        if settings.path_style {
            base += &format!("{}/", settings.bucket);
        } else {
            host = format!("{}.{host}", settings.bucket);
        }
        base += settings.prefix.trim_start_matches('/');
        let tls = match url.scheme() {
            "https" => Some((connector(settings)?, server_name(&host)?)),
            _ => None,
        };
        let authority = url
            .port()
            .map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        Ok(Self {
            secret,
            port: url.port_or_known_default().unwrap_or(443),
            host: host.trim_matches(['[', ']']).to_owned(),
            tls,
            authority,
            base: sigv4::encoded(&base),
            timeout: Duration::from_secs(settings.timeout_s),
            settings: settings.clone(),
        })
    }

    fn path(&self, sha256: &str) -> String {
        format!("{}{}", self.base, place(sha256))
    }

    pub(super) async fn has(&self, sha256: &str) -> anyhow::Result<bool> {
        let answer = self.send(Method::HEAD, sha256, None).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused(answer).await),
        }
    }

    /// Keeps it, unless it is there. A store that doesn't tell (403: it lets nobody list) gets it again.
    /// The file is read as it is sent, and from its beginning again for another attempt.
    pub(super) async fn put(&self, sha256: &str, file: &Path, length: u64) -> anyhow::Result<()> {
        let known = self.send(Method::HEAD, sha256, None).await?;
        if known.status() == StatusCode::OK {
            return Ok(());
        }
        let answer = self.send(Method::PUT, sha256, Some((file, length))).await?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(self.refused(answer).await)
        }
    }

    pub(super) async fn get(&self, sha256: &str) -> anyhow::Result<Option<Found>> {
        let answer = self.send(Method::GET, sha256, None).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refused(answer).await),
        }
        let length = hyper::body::Body::size_hint(answer.body())
            .exact()
            .with_context(|| format!("the store at {} doesn't say how long a file is", self.authority))?;
        let (body, silence) = (answer.into_body(), self.timeout);
        let parts = async_stream::try_stream! {
            let mut parts = body.into_data_stream();
            loop {
                let next = timeout(silence, parts.next()).await;
                let next = next.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the store has fallen silent"))?;
                match next {
                    Some(part) => {
                        let part = part.map_err(io::Error::other)?;
                        yield part;
                    }
                    None => break,
                }
            }
        };
        Ok(Some(Found {
            length,
            place: format!("{}{}", self.authority, self.path(sha256)),
            parts: parts.boxed(),
        }))
    }

    /// The answer's head, whatever it says; its body follows.
    async fn send(
        &self,
        method: Method,
        sha256: &str,
        file: Option<(&Path, u64)>,
    ) -> anyhow::Result<Response<Incoming>> {
        // A file takes its time before an answer can begin.
        let patience = self.timeout + Duration::from_secs(file.map_or(0, |(_, length)| length / SLOWEST));
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let tried = timeout(patience, self.once(&method, sha256, file)).await;
            let failure = match tried {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    let waited = patience.as_secs();
                    Failure::Passing(anyhow::anyhow!("there was no answer within {waited} s"))
                }
            };
            match failure {
                Failure::Passing(error) if attempt < ATTEMPTS => {
                    tracing::info!(
                        store = self.authority,
                        error = format!("{error:#}"),
                        attempt,
                        "the store is asked again"
                    );
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Failure::Passing(error) | Failure::Final(error) => {
                    return Err(error.context(format!(
                        "the store at {} (api.attachments.s3.endpoint)",
                        self.authority
                    )));
                }
            }
        }
        bail!("the store was not asked")
    }

    async fn once(
        &self,
        method: &Method,
        sha256: &str,
        file: Option<(&Path, u64)>,
    ) -> Result<Response<Incoming>, Failure> {
        let body = match file {
            Some((path, length)) => Some((body_of(path).await.map_err(Failure::Final)?, length)),
            None => None,
        };
        let request = self.signed(method, sha256, body).map_err(Failure::Final)?;
        let passing = |error: io::Error| Failure::Passing(error.into());
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(passing)?;
        let answer = match &self.tls {
            None => exchange(stream, request).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                exchange(stream.map_err(passing)?, request).await
            }
        };
        let answer = answer.map_err(|error| Failure::Passing(error.into()))?;
        let status = answer.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Failure::Passing(self.refused(answer).await));
        }
        Ok(answer)
    }

    /// The object's name is the SHA-256 of the body that is signed.
    fn signed(
        &self,
        method: &Method,
        sha256: &str,
        body: Option<(Sent, u64)>,
    ) -> anyhow::Result<Request<Sent>> {
        let path = self.path(sha256);
        let at = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let payload = match &body {
            Some(_) => sha256.to_owned(),
            None => hex(&Sha256::digest([])),
        };
        let headers = [
            ("host", self.authority.as_str()),
            ("x-amz-content-sha256", payload.as_str()),
            ("x-amz-date", at.as_str()),
        ];
        let signer = sigv4::Signer {
            access_key_id: &self.settings.access_key_id,
            secret_access_key: self.secret.expose_secret(),
            region: &self.settings.region,
            service: "s3",
        };
        let to_sign = sigv4::Request {
            method: method.as_str(),
            path: &path,
            query: "",
            headers: &headers,
            payload: &payload,
        };
        let authorization = signer.authorization(&to_sign, &at);
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.header("authorization", authorization);
        Ok(match body {
            Some((body, length)) => request.header("content-length", length).body(body)?,
            None => request.body(Empty::new().map_err(io::Error::other).boxed_unsync())?,
        })
    }

    /// What the store says against a request, as far as it says anything.
    async fn refused(&self, answer: Response<Incoming>) -> anyhow::Error {
        let status = answer.status();
        let mut text = Vec::new();
        let mut parts = answer.into_body().into_data_stream();
        while let Ok(Some(Ok(part))) = timeout(self.timeout, parts.next()).await {
            text.extend_from_slice(&part);
            if text.len() > MOST_ERROR_BYTES {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text);
        let said = |tag: &str| {
            let rest = text.split_once(&format!("<{tag}>"))?.1;
            Some(rest.split_once("</")?.0)
        };
        let (code, message) = (
            said("Code").unwrap_or_default(),
            said("Message").unwrap_or_default(),
        );
        anyhow::anyhow!(
            "the store at {} refuses with {status} {code} {message} (api.attachments.s3)",
            self.authority
        )
    }
}

/// A file, read as it is asked for.
async fn body_of(path: &Path) -> anyhow::Result<Sent> {
    let file = tokio::fs::File::open(path)
        .await
        .with_context(|| format!("can't read {}", path.display()))?;
    let parts = ReaderStream::with_capacity(file, PART).map_ok(Frame::data);
    Ok(StreamBody::new(parts).boxed_unsync())
}

/// Sends a request and reads the head of the answer; the connection lives as long as the answer's body.
async fn exchange<S>(stream: S, request: Request<Sent>) -> hyper::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the store broke");
        }
    });
    sender.send_request(request).await
}

fn connector(settings: &Settings) -> anyhow::Result<TlsConnector> {
    let mut roots = tls::public_roots();
    if let Some(path) = &settings.ca_file {
        let what = || format!("api.attachments.s3.ca_file {}", path.display());
        let before = roots.len();
        for certificate in CertificateDer::pem_file_iter(path).with_context(what)? {
            roots.add(certificate.with_context(what)?).with_context(what)?;
        }
        ensure!(roots.len() > before, "{} has no certificate", what());
    }
    Ok(tls::connector(roots))
}

fn server_name(host: &str) -> anyhow::Result<ServerName<'static>> {
    ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .with_context(|| format!("api.attachments.s3: `{host}` is no name that TLS knows"))
}
