//! `forewarn-edge check`: tries each source as the agent would, and shows the values it reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use models::reading::Quality;
use models::time::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::collect::{self, Shown};
use crate::config::Config;

/// The newest reading of a channel.
#[derive(Clone, Debug, Serialize)]
pub struct Value {
    pub device: String,
    pub channel: String,
    pub value: f64,
    pub unit: String,
    pub quality: Quality,
    pub at: Timestamp,
    /// Readings of this channel during the check.
    pub readings: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that can be known is fine.
    Ok,
    /// Reached or listening, but nothing came while the check waited.
    Waiting,
    Failed,
}

/// What a source gave.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    pub name: String,
    pub kind: String,
    pub verdict: Verdict,
    pub state: Option<String>,
    pub error: Option<String>,
    pub faults: BTreeMap<String, String>,
    pub rejected: u64,
    pub last_rejected: Option<String>,
    pub values: Vec<Value>,
}

/// Tries one source for at most `within`; shorter once every channel it has was read.
pub async fn source(config: &Config, collect: &collect::Config, within: Duration) -> Checked {
    let mut checked = Checked {
        name: collect.name(),
        kind: collect.kind().to_owned(),
        verdict: Verdict::Failed,
        state: None,
        error: None,
        faults: BTreeMap::new(),
        rejected: 0,
        last_rejected: None,
        values: Vec::new(),
    };
    let collector = match collect.open(&config.base, None, Timestamp::now()) {
        Ok(collector) => collector,
        Err(error) => {
            checked.error = Some(format!("{error:#}"));
            return checked;
        }
    };
    let (expects, shown) = (collector.expects(), Arc::clone(&collector.shown));
    let (to, mut chunks) = mpsc::channel::<crate::batch::Chunk>(32);
    let stop = CancellationToken::new();
    let task = tokio::spawn(collector.run(to, stop.clone()));
    let mut values: BTreeMap<(String, String), Value> = BTreeMap::new();
    let gather = async {
        while let Some(chunk) = chunks.recv().await {
            for reading in chunk.readings {
                let channel = &reading.channel;
                let key = (channel.device.to_string(), channel.name.clone());
                let readings = values.get(&key).map_or(0, |value| value.readings) + 1;
                let value = Value {
                    device: key.0.clone(),
                    channel: key.1.clone(),
                    value: reading.value,
                    unit: channel.unit.clone(),
                    quality: reading.quality,
                    at: reading.ts,
                    readings,
                };
                values.insert(key, value);
            }
            let done = match expects {
                Some(expected) => values.len() + shown.lock().faults.len() >= expected,
                // A generator shows at once what it has.
                None => shown.lock().state.is_none() && !values.is_empty(),
            };
            if done {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(within, gather).await;
    stop.cancel();
    // Nothing takes what is still on its way.
    drop(chunks);
    if let Err(error) = task.await {
        checked.error = Some(format!("stopped with a panic: {error}"));
        return checked;
    }
    let Shown {
        state,
        error,
        faults,
        rejected,
        last_rejected,
        ..
    } = shown.lock().clone();
    checked.verdict = match (&error, faults.is_empty() && rejected == 0, values.is_empty()) {
        (Some(_), ..) | (None, false, _) => Verdict::Failed,
        (None, true, true) => Verdict::Waiting,
        (None, true, false) => Verdict::Ok,
    };
    (checked.state, checked.error, checked.faults) = (state, error, faults);
    (checked.rejected, checked.last_rejected) = (rejected, last_rejected);
    checked.values = values.into_values().collect();
    checked
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Waiting => "nothing came yet",
            Verdict::Failed => "FAILED",
        };
        writeln!(f, "{}: {verdict}", self.name)?;
        if let Some(state) = &self.state {
            writeln!(f, "  {state}")?;
        }
        if let Some(error) = &self.error {
            writeln!(f, "  {error}")?;
        }
        let wide = |text: fn(&Value) -> usize| self.values.iter().map(text).max().unwrap_or(0);
        let names = wide(|value| value.device.len() + value.channel.len() + 1);
        for value in &self.values {
            let name = format!("{}/{}", value.device, value.channel);
            let quality = match value.quality {
                Quality::Good => "",
                Quality::Suspect => "  suspect",
                Quality::Bad => "  bad",
            };
            writeln!(
                f,
                "  {name:names$}  {:>14} {:10} {}{quality}",
                value.value, value.unit, value.at
            )?;
        }
        for (point, message) in &self.faults {
            writeln!(f, "  FAULT {point}: {message}")?;
        }
        if let Some(message) = &self.last_rejected {
            writeln!(f, "  {} left out, the last: {message}", self.rejected)?;
        }
        Ok(())
    }
}
