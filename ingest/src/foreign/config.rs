//! An entry of `[[ingest.foreign]]`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

/// A broker whose messages are readings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foreign {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// Different for each process and the same after a restart: the broker keeps unacknowledged
    /// messages under it.
    pub client_id: String,
    #[serde(default)]
    pub username: Option<String>,
    /// File with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Whose readings these are, as `tenant/gateway`. A topic `fw/v1/{tenant}/{gateway}/…` of the same
    /// tenant names its gateway itself.
    pub gateway: String,
    /// What to subscribe to.
    #[serde(default)]
    pub filters: Vec<String>,
    /// Group of a shared subscription over several ingest processes; empty = not shared.
    #[serde(default = "forewarn")]
    pub share: String,
    /// Be a Sparkplug host application on this broker, instead of subscribing to `filters`.
    #[serde(default)]
    pub sparkplug: bool,
    #[serde(default = "half_a_minute")]
    pub keep_alive_s: u16,
    /// Certificate authority of the broker, PEM; needed for mqtts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Certificate and key to show to the broker, PEM.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

fn forewarn() -> String {
    "forewarn".to_owned()
}

fn half_a_minute() -> u16 {
    30
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl Foreign {
    /// With everything else as it is when left out.
    pub fn new(url: String, client_id: String, gateway: String, filters: Vec<String>) -> Self {
        Self {
            url,
            client_id,
            username: None,
            password_file: None,
            gateway,
            filters,
            share: forewarn(),
            sparkplug: false,
            keep_alive_s: half_a_minute(),
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }

    /// # Errors
    /// When the URL is none.
    pub fn address(&self) -> anyhow::Result<Address> {
        let (tls, rest) = match self.url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => anyhow::bail!("`{}`: expected mqtt://host:port or mqtts://host:port", self.url),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.ends_with(']') => (
                host,
                port.parse().with_context(|| format!("`{port}` is no port"))?,
            ),
            _ => (rest, if tls { 8883 } else { 1883 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ensure!(
            !host.is_empty() && !host.contains(['@', '/']),
            "`{}` names no host; user and password have keys of their own",
            self.url
        );
        Ok(Address {
            host: host.to_owned(),
            port,
            tls,
        })
    }

    /// Tenant and gateway.
    pub fn gateway(&self) -> Option<(&str, &str)> {
        let (tenant, gateway) = self.gateway.split_once('/')?;
        (!tenant.is_empty() && !gateway.is_empty() && !gateway.contains('/')).then_some((tenant, gateway))
    }

    /// # Errors
    /// Names the key that can't be.
    pub fn check(&self) -> anyhow::Result<()> {
        let address = self.address().context("url")?;
        ensure!(
            !self.client_id.is_empty() && self.client_id.len() <= 256,
            "client_id must be named: different for each process, the same after a restart"
        );
        ensure!(self.gateway().is_some(), "gateway must be `tenant/gateway`");
        ensure!(
            self.sparkplug || !self.filters.is_empty(),
            "filters are missing, such as [\"plant/#\"]"
        );
        for filter in &self.filters {
            ensure!(
                !filter.is_empty() && !filter.starts_with("$share/") && !filter.contains('\0'),
                "filters: `{filter}` can't be; the group of a shared subscription stands in `share`"
            );
        }
        ensure!(
            !self.share.contains(['/', '+', '#']),
            "share: `{}` holds /, + or #",
            self.share
        );
        ensure!(self.keep_alive_s > 0, "keep_alive_s must be at least 1");
        ensure!(
            !address.tls || self.ca_file.is_some(),
            "ca_file is missing, which mqtts needs"
        );
        ensure!(
            self.cert_file.is_some() == self.key_file.is_some(),
            "cert_file and key_file go together"
        );
        Ok(())
    }

    /// The filters as the broker is asked for them.
    pub(crate) fn subscriptions(&self, host_id: &str) -> Vec<String> {
        if self.sparkplug {
            return vec![
                crate::sparkplug::host::state_topic(host_id),
                format!("{}/#", crate::sparkplug::topic::NAMESPACE),
            ];
        }
        let share = |filter: &String| match self.share.as_str() {
            "" => filter.clone(),
            group => format!("$share/{group}/{filter}"),
        };
        self.filters.iter().map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(url: &str) -> Foreign {
        serde_json::from_value(serde_json::json!({
            "url": url, "client_id": "ingest-1", "gateway": "acme/site", "filters": ["plant/#", "fw/v1/acme/#"],
        }))
        .unwrap()
    }

    #[test]
    fn addresses() {
        let of = |url| foreign(url).address().map(|a| (a.host, a.port, a.tls)).ok();
        assert_eq!(of("mqtt://broker"), Some(("broker".into(), 1883, false)));
        assert_eq!(of("mqtts://broker:9999/"), Some(("broker".into(), 9999, true)));
        assert_eq!(of("mqtt://[::1]:1884"), Some(("::1".into(), 1884, false)));
        assert_eq!(of("mqtt://[::1]"), Some(("::1".into(), 1883, false)));
        for bad in [
            "broker",
            "http://broker",
            "mqtt://",
            "mqtt://b:x",
            "mqtt://user:pw@b:1",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn subscriptions_are_shared_unless_told_otherwise() {
        let mut foreign = foreign("mqtt://b");
        foreign.check().unwrap();
        assert_eq!(
            foreign.subscriptions("h"),
            ["$share/forewarn/plant/#", "$share/forewarn/fw/v1/acme/#"]
        );
        foreign.share = String::new();
        assert_eq!(foreign.subscriptions("h")[0], "plant/#");
        foreign.sparkplug = true;
        assert_eq!(foreign.subscriptions("h"), ["spBv1.0/STATE/h", "spBv1.0/#"]);
    }

    #[test]
    fn what_can_not_be_is_named() {
        let refused = |change: &dyn Fn(&mut Foreign)| {
            let mut foreign = foreign("mqtt://b");
            change(&mut foreign);
            format!("{:#}", foreign.check().unwrap_err())
        };
        assert!(refused(&|f| f.client_id.clear()).starts_with("client_id"));
        assert!(refused(&|f| f.gateway = "acme".into()).starts_with("gateway"));
        assert!(refused(&|f| f.filters.clear()).starts_with("filters"));
        assert!(refused(&|f| f.filters = vec!["$share/a/b".into()]).starts_with("filters"));
        assert!(refused(&|f| f.url = "mqtts://b".into()).starts_with("ca_file"));
        assert!(refused(&|f| f.cert_file = Some("x".into())).starts_with("cert_file"));
    }
}
