//! Files by their content.
//!
//! `{dir}/{first two digits}/{SHA-256}`: the name says what must be inside, so that a file is written
//! once however many tickets show it, is never changed, and can be checked. It is written beside its
//! place and renamed into it: a crash leaves no half file under a whole name. Several processes may
//! share the folder.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn path(&self, hex: &str) -> PathBuf {
        self.dir.join(hex.get(..2).unwrap_or("00")).join(hex)
    }

    /// Keeps a content and gives its SHA-256.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub async fn put(&self, bytes: &[u8]) -> anyhow::Result<[u8; 32]> {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        let path = self.path(&hex(&hash));
        if tokio::fs::try_exists(&path).await.unwrap_or(false) {
            return Ok(hash);
        }
        let place = path.parent().unwrap_or(&self.dir);
        write(place, &path, bytes).await.with_context(|| {
            format!(
                "can't keep a file in {} (api.attachments.dir)",
                self.dir.display()
            )
        })?;
        Ok(hash)
    }

    /// The content of a hash in hexadecimal. `None` = it is not here, or not what its name says.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn get(&self, wanted: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.path(wanted);
        let bytes = match tokio::fs::read(&path).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        if hex(&Sha256::digest(&bytes)) != wanted {
            tracing::error!(path = %path.display(), "a stored file is not what its name says: restore it from a backup");
            return Ok(None);
        }
        Ok(Some(bytes))
    }
}

async fn write(place: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    tokio::fs::create_dir_all(place).await?;
    let beside = place.join(format!(".{}", uuid::Uuid::now_v7().simple()));
    let written = async {
        let mut file = tokio::fs::File::create(&beside).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        tokio::fs::rename(&beside, path).await
    }
    .await;
    if written.is_err() {
        // The error itself is what counts; a left-over is only untidy.
        let _ = tokio::fs::remove_file(&beside).await;
    }
    written
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a content begins as its type says it does. Types without a mark of their own are texts.
pub fn looks_like(media_type: &str, bytes: &[u8]) -> bool {
    let at = |offset: usize, mark: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    match media_type {
        "image/jpeg" => at(0, &[0xff, 0xd8, 0xff]),
        "image/png" => at(0, b"\x89PNG\r\n\x1a\n"),
        "image/webp" => at(0, b"RIFF") && at(8, b"WEBP"),
        "image/heic" | "video/mp4" => at(4, b"ftyp"),
        "application/pdf" => at(0, b"%PDF-"),
        kind if kind.starts_with("text/") => std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_content_is_kept_once_and_checked() {
        let dir = std::env::temp_dir().join(format!("fw-store-{}", uuid::Uuid::now_v7().simple()));
        let store = Store::new(&dir);
        let hash = hex(&store.put(b"oil on the floor").await.unwrap());
        assert_eq!(hash, hex(&store.put(b"oil on the floor").await.unwrap()));
        assert_eq!(
            store.get(&hash).await.unwrap().as_deref(),
            Some(&b"oil on the floor"[..])
        );
        assert_eq!(store.get(&"0".repeat(64)).await.unwrap(), None);
        let path = store.path(&hash);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no left-overs"
        );
        std::fs::write(&path, b"something else").unwrap();
        assert_eq!(
            store.get(&hash).await.unwrap(),
            None,
            "a damaged file is not handed out"
        );
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_type_is_not_believed() {
        assert!(looks_like("image/png", b"\x89PNG\r\n\x1a\n...."));
        assert!(!looks_like("image/png", b"<html>"));
        assert!(looks_like("text/plain", "größer".as_bytes()));
        assert!(!looks_like("text/csv", b"a\0b"));
        assert!(!looks_like("application/pdf", b""));
        assert!(looks_like("image/webp", b"RIFF....WEBPVP8 "));
    }
}
