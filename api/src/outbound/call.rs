//! One POST to an address that somebody else chose.
//!
//! A tenant names the URL and the server calls it: without care that is a way into the server's own
//! network (SSRF). So the name is resolved here, every address it has is judged, and the connection
//! goes to the very address that was judged: a name that answers otherwise a moment later (DNS
//! rebinding) gains nothing. Redirects are not followed, proxies of the environment not used, answers
//! not read. Plain HTTP is for networks that the operator has allowed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use models::webhook::{Network, may_call};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::tls;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("`{0}` is not a URL of the kind https://host/path")]
    Url(String),
    #[error(
        "http:// is for networks that the operator has allowed (api.outbound.allow_networks); use https://"
    )]
    Plain,
    #[error("the address {0} is not in the public network, and the operator has not allowed it")]
    Blocked(IpAddr),
    #[error("the name has no address")]
    NoAddress,
    #[error("can't be resolved or reached: {0}")]
    Io(#[from] std::io::Error),
    #[error("the request failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("it took longer than {0:?}")]
    Timeout(Duration),
    #[error("a header can't be sent")]
    Header,
}

/// Calls, with what it may call.
#[derive(Clone)]
pub struct Caller {
    allowed: Arc<[Network]>,
    tls: TlsConnector,
    timeout: Duration,
}

/// # Errors
/// What is wrong with the URL, as far as that can be said without the network.
pub fn check_url(text: &str) -> Result<Url, CallError> {
    let url = Url::parse(text).map_err(|_| CallError::Url(text.to_owned()))?;
    let good = matches!(url.scheme(), "https" | "http")
        && url.host().is_some()
        && url.username().is_empty()
        && url.password().is_none()
        && text.len() <= 2000;
    if good {
        Ok(url)
    } else {
        Err(CallError::Url(text.to_owned()))
    }
}

impl Caller {
    pub fn new(allowed: Vec<Network>, timeout: Duration) -> Self {
        Self {
            allowed: allowed.into(),
            tls: tls::connector(tls::public_roots()),
            timeout,
        }
    }

    /// Posts and gives the answer's status.
    ///
    /// # Errors
    /// When there was no answer, or the address may not be called.
    pub async fn post(&self, url: &str, headers: &[(&str, String)], body: Vec<u8>) -> Result<u16, CallError> {
        tokio::time::timeout(self.timeout, self.call(url, headers, body))
            .await
            .map_err(|_| CallError::Timeout(self.timeout))?
    }

    /// Addresses of a host, each of which may be called: one that may not blocks them all.
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, CallError> {
        let port = url.port_or_known_default().unwrap_or(443);
        let all: Vec<SocketAddr> = match url.host() {
            Some(Host::Ipv4(v4)) => vec![(v4, port).into()],
            Some(Host::Ipv6(v6)) => vec![(v6, port).into()],
            Some(Host::Domain(name)) => lookup_host((name, port)).await?.collect(),
            None => return Err(CallError::Url(url.to_string())),
        };
        if let Some(blocked) = all.iter().find(|address| !may_call(address.ip(), &self.allowed)) {
            return Err(CallError::Blocked(blocked.ip()));
        }
        let listed = |address: &SocketAddr| self.allowed.iter().any(|network| network.contains(address.ip()));
        if url.scheme() == "http" && !all.iter().all(listed) {
            return Err(CallError::Plain);
        }
        if all.is_empty() {
            Err(CallError::NoAddress)
        } else {
            Ok(all)
        }
    }

    async fn call(&self, text: &str, headers: &[(&str, String)], body: Vec<u8>) -> Result<u16, CallError> {
        let url = check_url(text)?;
        let addresses = self.addresses(&url).await?;
        let stream = TcpStream::connect(&addresses[..]).await?;
        let host = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = url.query().map_or_else(
            || url.path().to_owned(),
            |query| format!("{}?{query}", url.path()),
        );
        let mut request = hyper::Request::post(path).header("host", authority);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| CallError::Header)?;
        if url.scheme() == "http" {
            return exchange(stream, request).await;
        }
        let name = host.trim_matches(|edge| edge == '[' || edge == ']').to_owned();
        let name = ServerName::try_from(name).map_err(|_| CallError::Url(text.to_owned()))?;
        exchange(self.tls.connect(name, stream).await?, request).await
    }
}

/// Sends a request and reads the head of the answer; the connection is dropped after it.
async fn exchange<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> Result<u16, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => Ok(answer?.status().as_u16()),
        ended = &mut connection => {
            ended?;
            // The connection may end in the moment in which the answer is complete.
            Ok(answer.await?.status().as_u16())
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn private_addresses_are_blocked_however_they_are_written() {
        let caller = Caller::new(Vec::new(), Duration::from_secs(5));
        for url in [
            "https://127.0.0.1/x",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/latest/meta-data",
            "https://10.0.0.8:8443/",
            // A name, too, is judged by the address that it leads to.
            "https://localhost/",
        ] {
            let error = caller.post(url, &[], Vec::new()).await.unwrap_err();
            assert!(matches!(error, CallError::Blocked(_)), "{url}: {error}");
        }
        for url in [
            "ftp://example.com/",
            "https://user:secret@example.com/",
            "not a url",
            "https://",
        ] {
            let error = caller.post(url, &[], Vec::new()).await.unwrap_err();
            assert!(matches!(error, CallError::Url(_)), "{url}: {error}");
        }
        let plain = caller.post("http://1.1.1.1/", &[], Vec::new()).await.unwrap_err();
        assert!(matches!(plain, CallError::Plain), "{plain}");
    }

    #[tokio::test]
    async fn an_allowed_host_is_called_and_a_redirect_is_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"hello") {
                let mut part = [0; 1024];
                let length = stream.read(&mut part).await.unwrap();
                seen.extend_from_slice(&part[..length]);
            }
            let answer = b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(seen).unwrap()
        });
        let caller = Caller::new(vec!["127.0.0.0/8".parse().unwrap()], Duration::from_secs(5));
        let headers = [("webhook-id", "dlv_1".to_owned())];
        let url = format!("http://127.0.0.1:{port}/in?a=1");
        let status = caller.post(&url, &headers, b"hello".to_vec()).await.unwrap();
        assert_eq!(status, 302);
        let seen = server.await.unwrap();
        assert!(seen.starts_with("POST /in?a=1 HTTP/1.1\r\n"), "{seen}");
        assert!(
            seen.contains("webhook-id: dlv_1") && seen.contains(&format!("host: 127.0.0.1:{port}")),
            "{seen}"
        );
    }
}
