//! Attachments in a bucket, against an S3 server that is not ours: PyPI `moto`, which checks signatures
//! and rights.
//!
//! Left out, with a line that says so, when Python or the package can't be had; with
//! `FOREWARN_REQUIRE_SERVERS` in the environment that is a failure.

use std::path::Path;

use api::config::{Attachments, S3};
use api::store::{Folder, Store, hex};
use axum::body::Bytes;
use models::servers::python;
use sha2::{Digest, Sha256};

use crate::files::ticket_with;
use crate::plant::{ATTACHMENTS, PICTURE};

struct Moto {
    _server: models::servers::Server,
    settings: S3,
}

impl Moto {
    fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/s3.py");
        let mut python = python(env!("CARGO_TARGET_TMPDIR"), &["moto[s3,iam,server]==5.1.22"])?;
        let server = models::servers::Server::start(python.arg(script));
        let words: Vec<&str> = server.said.split_whitespace().collect();
        let [port, id, secret] = words[..] else {
            panic!("s3.py said {:?}", server.said);
        };
        let settings = S3 {
            endpoint: format!("http://127.0.0.1:{port}"),
            bucket: "files".into(),
            prefix: "plant one/".into(),
            access_key_id: id.into(),
            secret_access_key: secret.into(),
            timeout_s: 30,
            ..S3::default()
        };
        Some(Self {
            _server: server,
            settings,
        })
    }
}

fn store(dir: &Path, s3: &S3) -> Store {
    let config = Attachments {
        dir: dir.into(),
        s3: s3.clone(),
        ..Attachments::default()
    };
    Store::new(&config).unwrap()
}

async fn content(store: &Store, sha256: &str) -> Option<Vec<u8>> {
    Some(store.get(sha256).await.unwrap()?.bytes().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_are_kept_in_a_bucket() {
    let Some(moto) = Moto::start() else { return };
    let dir = std::env::temp_dir().join(format!("fw-bucket-{}", uuid::Uuid::now_v7().simple()));
    let bucket = store(&dir, &moto.settings);
    // Small ones are looked at before they are handed out, large ones on their way.
    for bytes in [Bytes::from("oil on the floor"), Bytes::from(vec![7; 9 << 20])] {
        let sha256 = hex(&Sha256::digest(&bytes));
        assert!(!bucket.has(&sha256).await.unwrap());
        assert!(content(&bucket, &sha256).await.is_none());
        assert_eq!(hex(&bucket.put(bytes.clone()).await.unwrap()), sha256);
        assert_eq!(
            hex(&bucket.put(bytes.clone()).await.unwrap()),
            sha256,
            "once more is no harm"
        );
        assert!(bucket.has(&sha256).await.unwrap());
        assert_eq!(
            bucket.get(&sha256).await.unwrap().unwrap().length,
            bytes.len() as u64
        );
        assert_eq!(content(&bucket, &sha256).await.unwrap(), bytes);
    }
    let left: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .flat_map(|one| std::fs::read_dir(one.unwrap().path()).unwrap())
        .collect();
    assert!(left.is_empty(), "nothing stays in the folder: {left:?}");

    // What was in the folder before there was a bucket is still found.
    let before = Store::from(Folder::new(&dir));
    let old = hex(&before.put("an old note".into()).await.unwrap());
    assert!(!bucket.has(&old).await.unwrap());
    assert_eq!(content(&bucket, &old).await.unwrap(), b"an old note");
    std::fs::remove_dir_all(&dir).unwrap();

    // Refusals say what the store said, and where to look.
    let stranger = S3 {
        secret_access_key: "another".into(),
        ..moto.settings.clone()
    };
    let error = store(&dir, &stranger).put("x".into()).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("SignatureDoesNotMatch") && text.contains("api.attachments.s3"),
        "{text}"
    );
    let error = store(&dir, &stranger).has(&old).await.unwrap_err();
    assert!(format!("{error:#}").contains("403"), "{error:#}");
    let elsewhere = S3 {
        bucket: "nowhere".into(),
        ..moto.settings.clone()
    };
    let error = store(&dir, &elsewhere).put("x".into()).await.unwrap_err();
    assert!(format!("{error:#}").contains("NoSuchBucket"), "{error:#}");
    let (gone, settings) = (moto.settings.endpoint.clone(), moto.settings.clone());
    drop(moto);
    let error = store(&dir, &settings).put("x".into()).await.unwrap_err();
    assert!(
        format!("{error:#}").contains(gone.trim_start_matches("http://")),
        "{error:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tickets_photo_goes_through_the_bucket() {
    let Some(moto) = Moto::start() else { return };
    let (server, token, path) = ticket_with(Attachments {
        s3: moto.settings.clone(),
        ..Attachments::default()
    })
    .await;
    // Another one than the fixture has put into the folder.
    let photo = [PICTURE, b" and one more"].concat();
    let address = server.url(&format!("{path}?name=oil.png"));
    let request = server.http.post(address).bearer_auth(&token);
    let made = request
        .header("content-type", "image/png")
        .body(photo.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 201);
    let made: serde_json::Value = made.json().await.unwrap();
    let path = format!("/v1/attachments/{}", made["id"].as_str().unwrap());
    let shown = server.http.get(server.url(&path)).bearer_auth(&token);
    let shown = shown.send().await.unwrap();
    assert_eq!(shown.headers()["content-type"], "image/png");
    assert_eq!(shown.bytes().await.unwrap(), photo);
    let sha256 = hex(&Sha256::digest(&photo));
    assert!(
        store(Path::new(ATTACHMENTS), &moto.settings)
            .has(&sha256)
            .await
            .unwrap()
    );
    let folder = Store::from(Folder::new(ATTACHMENTS));
    assert!(!folder.has(&sha256).await.unwrap());
    server.stop().await;
}
