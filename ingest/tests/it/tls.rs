//! TLS 1.2 and 1.3, mutual TLS, certificates that change, MQTT over WebSocket: with certificates made
//! for the test and rustls as the client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use ingest::config::{Config, Tls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rumqttc::mqttbytes::v4;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::broker::broker;
use crate::harness::{WAIT, start};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key, PEM.
    fn sign(&self, name: &str, common: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A port that is free now; whoever takes it in between fails the test loudly.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Writes the server's certificate, and says so in the configuration.
fn serve(config: &mut Config, folder: &Path, server: &(String, String), clients: Option<&str>) -> SocketAddr {
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    config.tls = Some(Tls {
        listen: address.to_string(),
        cert_file: file("cert.pem", &server.0),
        key_file: file("key.pem", &server.1),
        client_ca_file: clients.map(|pem| file("clients.pem", pem)),
        client_cert_optional: false,
        provision_site: None,
        tenant_authorities: true,
        reload_s: 1,
    });
    address
}

fn client(
    trusted: &Authority,
    own: Option<&(String, String)>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    TlsConnector::from(Arc::new(config))
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

/// Until the listener is there.
async fn tcp(address: SocketAddr) -> TcpStream {
    let started = std::time::Instant::now();
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(error) => assert!(started.elapsed() < WAIT, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn tls(address: SocketAddr, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, tcp(address).await).await
}

/// CONNECT over any stream; the return code, or `None` when the connection is closed instead.
async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    login: Option<(&str, &str)>,
) -> Option<u8> {
    let mut connect = v4::Connect::new("c");
    if let Some((user, secret)) = login {
        connect.set_login(user, secret);
    }
    let mut out = BytesMut::new();
    connect.write(&mut out).unwrap();
    stream.write_all(&out).await.ok()?;
    stream.flush().await.ok()?;
    let mut ack = [0; 4];
    let reading = tokio::time::timeout(WAIT, stream.read_exact(&mut ack));
    reading.await.expect("an answer in time").ok()?;
    assert_eq!(ack[..2], [0x20, 2]);
    Some(ack[3])
}

async fn ping<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    stream.write_all(&[0xc0, 0]).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0xd0, 0]);
}

#[tokio::test]
async fn both_versions_of_tls_and_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new("authority"), Authority::new("other"));
    let mut address = None;
    let broker = broker(|config| {
        address = Some(serve(
            config,
            folder.path(),
            &authority.sign("localhost", "first"),
            None,
        ));
    })
    .await;
    let address = address.unwrap();
    for (version, name) in [(&rustls::version::TLS12, "1.2"), (&rustls::version::TLS13, "1.3")] {
        let mut stream = tls(address, &client(&authority, None, &[version])).await.unwrap();
        assert_eq!(connect(&mut stream, None).await, Some(0), "TLS {name}");
        ping(&mut stream).await;
    }
    // ingestion.md 4.2, row 3: idle connections keep nobody out.
    let _idle = [tcp(address).await, tcp(address).await];
    assert!(
        tls(address, &client(&other, None, BOTH)).await.is_err(),
        "an authority it doesn't trust"
    );
    let mut plain = tcp(address).await;
    plain.write_all(&[0x10, 0x0d]).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(WAIT, plain.read_to_end(&mut answer))
        .await
        .expect("closed")
        .ok();
    assert_ne!(answer.first(), Some(&0x20), "no TLS, no CONNACK");
    let mut before = tls(address, &client(&authority, None, BOTH)).await.unwrap();
    assert_eq!(connect(&mut before, None).await, Some(0));

    // A file that can't be used leaves the old certificate in force; then a good one comes.
    std::fs::write(folder.path().join("cert.pem"), "nonsense").unwrap();
    let (certificate, key) = other.sign("localhost", "second");
    let started = std::time::Instant::now();
    let mut written = false;
    let mut after = loop {
        if let Ok(stream) = tls(address, &client(&other, None, BOTH)).await {
            break stream;
        }
        if !written {
            tls(address, &client(&authority, None, BOTH))
                .await
                .expect("the old one meanwhile");
            std::fs::write(folder.path().join("key.pem"), &key).unwrap();
            std::fs::write(folder.path().join("cert.pem"), &certificate).unwrap();
            written = true;
        }
        assert!(started.elapsed() < WAIT, "the new certificate isn't read");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    ping(&mut before).await;
    assert_eq!(connect(&mut after, None).await, Some(0));
    broker.stop().await;
}

#[tokio::test]
async fn a_certificate_names_its_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let (server, clients) = (Authority::new("servers"), Authority::new("clients"));
    let stranger = Authority::new("stranger");
    let mut address = None;
    let service = start(|config| {
        let pair = server.sign("localhost", "server");
        address = Some(serve(config, folder.path(), &pair, Some(&clients.pem)));
        config.tls.as_mut().unwrap().provision_site = Some("Works".into());
    })
    .await;
    let address = address.unwrap();
    service.gateway("line-1").await;
    service.gateway("line-2").await;
    let with = |pair: &(String, String)| client(&server, Some(pair), BOTH);

    let own = clients.sign("gateway", "acme/line-1");
    let mut stream = tls(address, &with(&own)).await.unwrap();
    assert_eq!(
        connect(&mut stream, None).await,
        Some(0),
        "no user name is needed"
    );
    let mut again = tls(address, &with(&own)).await.unwrap();
    assert_eq!(
        connect(&mut again, Some(("acme/line-1", "line-1"))).await,
        Some(0)
    );
    let mut other = tls(address, &with(&own)).await.unwrap();
    assert_eq!(
        connect(&mut other, Some(("acme/line-2", "line-2"))).await,
        Some(4),
        "another gateway's secret"
    );
    let nobody = clients.sign("gateway", "elsewhere/line-1");
    let mut stream_of_nobody = tls(address, &with(&nobody)).await.unwrap();
    assert_eq!(
        connect(&mut stream_of_nobody, None).await,
        Some(4),
        "no such tenant"
    );

    // Of another authority, or none: refused before anything is read. With TLS 1.3 the client hears it
    // when it reads.
    for connector in [
        with(&stranger.sign("gateway", "acme/line-1")),
        client(&server, None, BOTH),
    ] {
        if let Ok(mut stream) = tls(address, &connector).await {
            assert_eq!(connect(&mut stream, None).await, None);
        }
    }

    // A gateway that isn't registered is, at the configured site.
    let new = clients.sign("gateway", "acme/line-9");
    let mut stream_of_new = tls(address, &with(&new)).await.unwrap();
    assert_eq!(connect(&mut stream_of_new, None).await, Some(0));
    assert_eq!(
        service
            .number("SELECT count(*) FROM gateway WHERE slug = 'line-9'")
            .await,
        1
    );
    assert_eq!(
        service
            .number("SELECT count(*) FROM gateway_credential WHERE certificate_sha256 IS NOT NULL")
            .await,
        2,
        "one for each certificate, however often it is shown"
    );

    // Revoked like any other credential: the connection is closed, and it doesn't come in again.
    sqlx::query("UPDATE gateway_credential SET revoked_at = now() WHERE certificate_sha256 IS NOT NULL")
        .execute(&service.database.owner)
        .await
        .unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(WAIT, stream_of_new.read_to_end(&mut rest))
        .await
        .expect("closed")
        .ok();
    let mut stream = tls(address, &with(&own)).await.unwrap();
    assert_eq!(connect(&mut stream, None).await, Some(4));
    service.stop().await;
}

/// A tenant's own authority vouches for its own gateways, whatever the certificate says.
#[tokio::test]
async fn a_tenants_authority_opens_that_tenant_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = Authority::new("servers");
    let (of_acme, of_other) = (Authority::new("acme's"), Authority::new("other's"));
    let mut address = None;
    let service = start(|config| {
        let pair = server.sign("localhost", "server");
        address = Some(serve(config, folder.path(), &pair, None));
    })
    .await;
    let address = address.unwrap();
    service.gateway("line-1").await;
    let owner = &service.database.owner;
    let other = models::id::TenantId::new();
    sqlx::query("INSERT INTO tenant (id, slug, name) VALUES ($1, 'other', 'Other')")
        .bind(other)
        .execute(owner)
        .await
        .unwrap();
    let mut connection = owner.acquire().await.unwrap();
    let mut ids = Vec::new();
    for (tenant, authority, site) in [
        (service.tenant, &of_acme, Some(service.site)),
        (other, &of_other, None),
    ] {
        let der = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
        let new = models::db::authority::NewAuthority {
            tenant,
            name: "devices",
            certificate: &der,
            site,
            by: "test",
        };
        let made = models::db::authority::create(&mut connection, &new)
            .await
            .unwrap();
        ids.push(made.unwrap());
    }
    let with = |pair: &(String, String)| client(&server, Some(pair), BOTH);
    let code = async |authority: &Authority, common: &str| {
        let connector = with(&authority.sign("gateway", common));
        let mut stream = tls(address, &connector).await.ok()?;
        connect(&mut stream, None).await
    };
    // Until the listener knows them. With TLS 1.3 a client hears of a refusal when it reads.
    let started = std::time::Instant::now();
    while code(&of_acme, "acme/line-1").await != Some(0) {
        assert!(started.elapsed() < WAIT, "the authorities aren't read");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(
        code(&of_acme, "acme/new").await,
        Some(0),
        "registered at its site"
    );
    assert_eq!(
        code(&of_other, "other/new").await,
        Some(4),
        "no site is given: not registered"
    );
    assert_eq!(
        code(&of_other, "acme/line-1").await,
        Some(4),
        "another tenant's gateway"
    );
    assert_eq!(
        code(&of_acme, "other/line-1").await,
        Some(4),
        "nor the other way round"
    );
    assert_eq!(code(&Authority::new("nobody's"), "acme/line-1").await, None);
    // A gateway with a secret needs no certificate.
    let mut plain = tls(address, &client(&server, None, BOTH)).await.unwrap();
    assert_eq!(
        connect(&mut plain, Some(("acme/line-1", "line-1"))).await,
        Some(0)
    );
    let gateways = "SELECT count(*) FROM gateway WHERE slug = 'new'";
    assert_eq!(service.number(gateways).await, 1);

    // Revoked: its open connections are closed, and it vouches for nobody any more.
    let mut open = tls(address, &with(&of_acme.sign("gateway", "acme/new")))
        .await
        .unwrap();
    assert_eq!(connect(&mut open, None).await, Some(0));
    assert!(
        models::db::authority::revoke(&mut connection, ids[0])
            .await
            .unwrap()
    );
    let mut rest = Vec::new();
    tokio::time::timeout(WAIT, open.read_to_end(&mut rest))
        .await
        .expect("closed")
        .ok();
    assert_ne!(code(&of_acme, "acme/line-1").await, Some(0));
    let mut still = tls(address, &client(&server, None, BOTH)).await.unwrap();
    assert_eq!(
        connect(&mut still, Some(("acme/line-1", "line-1"))).await,
        Some(0)
    );
    drop(connection);
    service.stop().await;
}

fn request(subprotocol: Option<&'static str>) -> tokio_tungstenite::tungstenite::handshake::client::Request {
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    if let Some(name) = subprotocol {
        request
            .headers_mut()
            .insert("sec-websocket-protocol", name.parse().unwrap());
    }
    request
}

/// [MQTT-6.0.0-1] to [MQTT-6.0.0-4], over `stream`.
async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let (mut socket, response) = tokio_tungstenite::client_async(request(Some("other, mqtt")), stream)
        .await
        .unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    let mut out = BytesMut::new();
    v4::Connect::new("ws").write(&mut out).unwrap();
    out.extend_from_slice(&[0xc0, 0, 0xc0, 0]);
    // Neither one packet a frame nor one frame a packet.
    for part in [&out[..1], &out[1..5], &out[5..]] {
        socket.send(Message::Binary(part.to_vec().into())).await.unwrap();
    }
    let mut got = Vec::new();
    while got.len() < 8 {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => got.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, [0x20, 2, 0, 0, 0xd0, 0, 0xd0, 0]);
    socket.send(Message::Ping(vec![1].into())).await.unwrap();
    socket.send(Message::Binary(vec![0xc0, 0].into())).await.unwrap();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        answers.push(socket.next().await.unwrap().unwrap());
    }
    assert!(answers.contains(&Message::Binary(vec![0xd0, 0].into())));
    assert!(answers.contains(&Message::Pong(vec![1].into())));
    socket.send(Message::Text("text".into())).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        assert!(matches!(message, Message::Close(_)), "{message:?}");
    }
}

#[tokio::test]
async fn mqtt_over_websocket_with_and_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority");
    let mut address = None;
    let broker = broker(|config| {
        address = Some(serve(
            config,
            folder.path(),
            &authority.sign("localhost", "server"),
            None,
        ));
    })
    .await;
    websocket(tcp(broker.address).await).await;
    websocket(
        tls(address.unwrap(), &client(&authority, None, BOTH))
            .await
            .unwrap(),
    )
    .await;
    for wrong in [None, Some("chat")] {
        let refused = tokio_tungstenite::client_async(request(wrong), tcp(broker.address).await).await;
        assert!(refused.is_err(), "without the subprotocol");
    }
    broker.v4("plain", true).await.0.nothing().await;
    broker.stop().await;
}
