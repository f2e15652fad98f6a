//! A file on its way in: written down beside the others, hashed and looked at part by part.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::sniff::Sniff;

/// What a process that was killed has left behind is removed when it is so old.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// A whole file that is not kept yet; dropped, it is gone.
#[derive(Debug)]
pub struct Received {
    path: PathBuf,
    pub length: u64,
    pub sha256: [u8; 32],
}

impl Received {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Why a file was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("a file has {most} bytes at most: make it smaller")]
    TooLarge { most: u64 },
    #[error("the file is empty")]
    Empty,
    #[error("the content is not {media_type}: send the type that it is")]
    OtherType { media_type: String },
    #[error("the file broke off ({0}): send it again")]
    BrokeOff(String),
    #[error("the file could not be written down")]
    Place(#[source] anyhow::Error),
}

pub(super) async fn receive<E: std::fmt::Display>(
    dir: &Path,
    parts: impl Stream<Item = Result<Bytes, E>>,
    media_type: Option<&str>,
    most: u64,
) -> Result<Received, NotTaken> {
    let path = dir.join(uuid::Uuid::now_v7().simple().to_string());
    let place = |error: io::Error| {
        let text = format!("can't write {} (api.attachments.dir)", path.display());
        NotTaken::Place(anyhow::Error::new(error).context(text))
    };
    tokio::fs::create_dir_all(dir).await.map_err(place)?;
    let mut file = tokio::fs::File::create(&path).await.map_err(place)?;
    // From here on the file goes with it, however this ends.
    let mut received = Received {
        path: path.clone(),
        length: 0,
        sha256: [0; 32],
    };
    let mut sniff = media_type.map(Sniff::new);
    let mut hash = Sha256::new();
    futures::pin_mut!(parts);
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| NotTaken::BrokeOff(error.to_string()))?;
        received.length = received.length.saturating_add(part.len() as u64);
        if received.length > most {
            return Err(NotTaken::TooLarge { most });
        }
        hash.update(&part);
        if let Some(sniff) = &mut sniff {
            sniff.take(&part);
        }
        file.write_all(&part).await.map_err(place)?;
    }
    if received.length == 0 {
        return Err(NotTaken::Empty);
    }
    if let Some(media_type) = media_type.filter(|_| sniff.is_some_and(|sniff| !sniff.fits())) {
        let media_type = media_type.to_owned();
        return Err(NotTaken::OtherType { media_type });
    }
    file.sync_all().await.map_err(place)?;
    received.sha256 = hash.finalize().into();
    Ok(received)
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        // It was kept: it has another name now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "a file that is not needed stays"),
    }
}

/// Removes what killed processes have left behind. Others may share the folder: what is young is theirs.
pub(super) fn sweep(dir: &Path) {
    let swept = || -> anyhow::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let age = SystemTime::now().duration_since(entry.metadata()?.modified()?);
            if age.is_ok_and(|age| age > LEFT_BEHIND) {
                remove(&entry.path());
            }
        }
        Ok(())
    };
    if let Err(error) = swept().with_context(|| format!("can't look through {}", dir.display())) {
        let missing = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !missing {
            tracing::warn!(error = format!("{error:#}"), "left-overs of uploads stay");
        }
    }
}
