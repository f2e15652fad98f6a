//! Configuration from Forewarn, staged: tried, and taken back by itself when the link doesn't return.
//!
//! A message on `fw/v1/{tenant}/{gateway}/command`
//!
//! ```json
//! {"command": "configure", "version": "7", "config": "[batch]\nmax_age_ms = 500\n"}
//! ```
//!
//! goes over the file on site: `collect` as a whole, `batch` and `uplink` key by key. It can never
//! touch `[spool]`, `[remote]`, `[status]` or who the gateway is, and of `[uplink]` it reaches `url`,
//! `window`, `keep_alive_s`, `retry_max_s` and `backlog_per_s`, and those only with
//! `remote.allow_uplink`. The site decides whether to listen at all: `remote.enabled`.
//!
//! The checks of a start are made first; what doesn't pass is refused and nothing changes. Otherwise
//! the agent stops in order, as for a restart, and begins anew with the candidate; the spool stays as
//! it is. The candidate is kept once the receiver has answered a publish within `remote.link_within_s`
//! ([`stage`]). The outcome stands in the retained state message as `config`, in the status, and
//! survives restarts in `remote.json` beside the spool.

mod stage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use figment::providers::{Format, Toml};
use models::time::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
pub use stage::{Outcome, Overlay, Stage, Verdict};

pub const FILE: &str = "remote.json";
const MAX_TEXT: usize = 256 << 10;

/// `[remote]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub enabled: bool,
    /// How long a candidate has to bring the link back, seconds.
    pub link_within_s: f64,
    /// Whether it may change the receiver's address and the pace.
    pub allow_uplink: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            link_within_s: 120.0,
            allow_uplink: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    Configure { version: String, config: String },
}

/// All that a candidate may hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    #[serde(rename = "batch")]
    _batch: Option<figment::value::Value>,
    #[serde(rename = "collect")]
    _collect: Option<Vec<figment::value::Value>>,
    uplink: Option<AllowedUplink>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowedUplink {
    #[serde(rename = "url")]
    _url: Option<String>,
    #[serde(rename = "window")]
    _window: Option<u16>,
    #[serde(rename = "keep_alive_s")]
    _keep_alive_s: Option<u64>,
    #[serde(rename = "retry_max_s")]
    _retry_max_s: Option<f64>,
    #[serde(rename = "backlog_per_s")]
    _backlog_per_s: Option<f64>,
}

/// Shared by the uplink, which hears commands, and the agent, which follows them.
#[derive(Clone)]
pub struct Remote {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    /// The file on site that candidates go over.
    config: PathBuf,
    file: PathBuf,
    stage: Mutex<Stage>,
    /// There is news for the state topic.
    changed: Notify,
    /// The agent is to begin anew.
    again: Mutex<CancellationToken>,
}

impl Remote {
    /// Reads what an earlier run left. A file that can't be read is reported and counts as none.
    pub fn open(config: &Config) -> Self {
        let file = config.spool_dir().join(FILE);
        let stage = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(%error, file = %file.display(), "remote configuration is damaged, going on without it");
                Stage::default()
            }),
            Err(_) => Stage::default(),
        };
        Self {
            inner: Arc::new(Inner {
                settings: config.remote.clone(),
                config: config.file.clone(),
                file,
                stage: Mutex::new(stage),
                changed: Notify::new(),
                again: Mutex::new(CancellationToken::new()),
            }),
        }
    }

    pub fn is_enabled(&self) -> bool {
        self.inner.settings.enabled
    }

    /// The configuration to run with, and the token that is cancelled when the agent is to begin anew.
    ///
    /// # Errors
    /// When the file on site can't be used.
    pub fn begin(
        &self,
        base: &Config,
        stop: &CancellationToken,
    ) -> anyhow::Result<(Config, CancellationToken)> {
        let again = stop.child_token();
        *self.inner.again.lock() = again.clone();
        if !self.is_enabled() {
            return Ok((base.clone(), again));
        }
        let overlay = self.change(|stage| stage.begin(Timestamp::now()));
        let config = match overlay {
            None => base.clone(),
            // Checked when it came, but the file on site may have changed since.
            Some(overlay) => match self.load(&overlay) {
                Ok(config) => config,
                Err(error) => {
                    let reason = format!("{error:#}");
                    tracing::error!(
                        version = overlay.version,
                        reason,
                        "remote configuration can't be used, the file on site counts"
                    );
                    self.change(|stage| stage.roll_back(&reason, Timestamp::now()));
                    base.clone()
                }
            },
        };
        Ok((config, again))
    }

    fn load(&self, overlay: &Overlay) -> anyhow::Result<Config> {
        check(&overlay.text, &self.inner.settings)?;
        let here = Config::load(&self.inner.config)?;
        let config = Config::load_with(&self.inner.config, Some(&overlay.text))?;
        // The secret goes with the first packet.
        ensure!(
            config.uplink.address()?.tls || !here.uplink.address()?.tls,
            "`uplink.url` would give up TLS, and with it the gateway's secret"
        );
        Ok(config)
    }

    /// Returns when a trial has run out of time; never when there is none.
    pub async fn trial_is_over(&self) {
        if self.inner.stage.lock().is_on_trial() {
            tokio::time::sleep(Duration::from_secs_f64(self.inner.settings.link_within_s)).await;
            if self.inner.stage.lock().is_on_trial() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Takes a trial back. Returns whether there was one: then the agent begins anew.
    pub fn roll_back(&self, reason: &str) -> bool {
        let back = self.is_enabled() && self.change(|stage| stage.roll_back(reason, Timestamp::now()));
        if back {
            tracing::error!(reason, "remote configuration taken back");
            self.inner.again.lock().cancel();
        }
        back
    }

    /// A message of the command topic.
    pub fn command(&self, payload: &[u8]) {
        if !self.is_enabled() {
            return;
        }
        let now = Timestamp::now();
        let command = serde_json::from_slice(payload)
            .context("expected {\"command\": \"configure\", \"version\": …, \"config\": …}");
        let (version, config) = match command {
            Ok(Command::Configure { version, config }) => (version, config),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "can't read `command`");
                self.change(|stage| stage.refuse(String::new(), format!("{error:#}"), now));
                return;
            }
        };
        let overlay = Overlay {
            version,
            text: config,
        };
        match self.load(&overlay) {
            Ok(_) => {
                let version = overlay.version.clone();
                if self.change(|stage| stage.offer(overlay, now)) {
                    tracing::info!(version, "trying the configuration that Forewarn sent");
                    self.inner.again.lock().cancel();
                }
            }
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::error!(
                    version = overlay.version,
                    reason,
                    "refused the configuration that Forewarn sent"
                );
                self.change(|stage| stage.refuse(overlay.version, reason, now));
            }
        }
    }

    /// The receiver answers: a trial has passed.
    pub fn link_is_back(&self) {
        if self.inner.stage.lock().is_on_trial() && self.change(|stage| stage.link_is_back(Timestamp::now()))
        {
            tracing::info!("the link is back, the configuration stays");
        }
    }

    /// Returns when there is news for the state topic.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// For the state topic; `None` when there never was an offer.
    pub fn report(&self) -> Option<Value> {
        let stage = self.inner.stage.lock();
        let last = stage.last()?;
        Some(json!({
            "version": last.version,
            "state": last.state,
            "reason": last.reason,
            "at": last.at,
            "active": stage.active(),
        }))
    }

    pub fn last(&self) -> Option<Outcome> {
        self.inner.stage.lock().last().cloned()
    }

    /// Changes the stage and puts it on disk.
    fn change<T>(&self, f: impl FnOnce(&mut Stage) -> T) -> T {
        let mut stage = self.inner.stage.lock();
        let before = stage.clone();
        let result = f(&mut stage);
        if *stage != before {
            if let Err(error) = write(&self.inner.file, &stage) {
                tracing::error!(
                    error = format!("{error:#}"),
                    "can't keep the state of remote configuration"
                );
            }
            self.inner.changed.notify_one();
        }
        result
    }
}

/// Whether a candidate holds nothing but what it may.
fn check(text: &str, settings: &Settings) -> anyhow::Result<()> {
    ensure!(text.len() <= MAX_TEXT, "longer than {MAX_TEXT} bytes");
    let allowed: Allowed = figment::Figment::from(Toml::string(text))
        .extract()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("remote configuration may hold `batch`, `collect` and some of `uplink`")?;
    ensure!(
        allowed.uplink.is_none() || settings.allow_uplink,
        "`uplink` is not for remote configuration here: the site would have to set `remote.allow_uplink`"
    );
    Ok(())
}

/// In one step, there after a power cut.
fn write(path: &Path, stage: &Stage) -> anyhow::Result<()> {
    let temporary = path.with_extension("json.tmp");
    let write = || {
        use std::io::Write;
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(stage)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        if let Some(dir) = path.parent() {
            std::fs::File::open(dir)?.sync_all()?;
        }
        std::io::Result::Ok(())
    };
    write().with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_not_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.toml");
        let text = "[uplink]\nurl = \"mqtts://h\"\ntenant = \"t\"\ngateway = \"g\"\nsecret = \"s\"\n[spool]\ndir = \".\"\n[remote]\nenabled = true\nallow_uplink = true\n";
        std::fs::write(&path, text).unwrap();
        let remote = Remote::open(&Config::load(&path).unwrap());
        let load = |url: &str| {
            let text = format!("[uplink]\nurl = \"{url}\"\n");
            remote.load(&Overlay {
                version: String::new(),
                text,
            })
        };
        assert_eq!(load("mqtts://other").unwrap().uplink.url, "mqtts://other");
        let error = load("mqtt://other").unwrap_err().to_string();
        assert!(error.contains("TLS"), "{error}");
    }

    #[test]
    fn what_a_candidate_may_hold() {
        let open = Settings {
            allow_uplink: true,
            ..Settings::default()
        };
        check(
            "[batch]\nlevel = 1\n[uplink]\nurl = \"mqtt://x\"\n[[collect]]\nkind = \"host\"\n",
            &open,
        )
        .unwrap();
        let shut = Settings::default();
        for (text, said) in [
            ("[spool]\ndir = \"/\"\n", "spool"),
            ("[remote]\nenabled = true\n", "remote"),
            ("[status]\nlisten = \"0.0.0.0:1\"\n", "status"),
            ("[uplink]\nwindow = 1\n", "allow_uplink"),
            ("nonsense", "expected"),
        ] {
            let error = format!("{:#}", check(text, &shut).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
        for identity in ["tenant", "gateway", "secret", "secret_file", "tls"] {
            let text = format!("[uplink]\n{identity} = \"x\"\n");
            let error = format!("{:#}", check(&text, &open).unwrap_err());
            assert!(error.contains(identity), "{error}");
        }
    }
}
