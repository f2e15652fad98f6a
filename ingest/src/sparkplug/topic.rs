//! The topic namespace (specification, chapter 4).

/// First level of every topic of Sparkplug B.
pub const NAMESPACE: &str = "spBv1.0";
const MAX_ID: usize = 128;

/// What an edge node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    NodeBirth,
    NodeDeath,
    NodeData,
    DeviceBirth,
    DeviceDeath,
    DeviceData,
}

impl Kind {
    pub const fn is_birth(self) -> bool {
        matches!(self, Self::NodeBirth | Self::DeviceBirth)
    }
}

/// A message from an edge node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    pub group: String,
    pub kind: Kind,
    pub node: String,
    /// Of the device messages.
    pub device: Option<String>,
}

impl Topic {
    /// `None` when it is no message of an edge node: another namespace, STATE, a command.
    pub fn parse(topic: &str) -> Option<Self> {
        let mut levels = topic.split('/');
        if levels.next()? != NAMESPACE {
            return None;
        }
        let (group, kind, node, device) = (levels.next()?, levels.next()?, levels.next()?, levels.next());
        let (kind, of_device) = match kind {
            "NBIRTH" => (Kind::NodeBirth, false),
            "NDEATH" => (Kind::NodeDeath, false),
            "NDATA" => (Kind::NodeData, false),
            "DBIRTH" => (Kind::DeviceBirth, true),
            "DDEATH" => (Kind::DeviceDeath, true),
            "DDATA" => (Kind::DeviceData, true),
            _ => return None,
        };
        let good = |id: &str| {
            !id.is_empty()
                && id.len() <= MAX_ID
                && !id.contains(|c: char| c == '+' || c == '#' || c.is_control())
        };
        if levels.next().is_some()
            || of_device != device.is_some()
            || !good(group)
            || group == "STATE"
            || !good(node)
            || device.is_some_and(|id| !good(id))
        {
            return None;
        }
        Some(Self {
            group: group.to_owned(),
            kind,
            node: node.to_owned(),
            device: device.map(str::to_owned),
        })
    }

    /// Name of the node as a device.
    pub fn node_name(&self) -> String {
        format!("{}/{}", self.group, self.node)
    }

    /// Name of the device that the message speaks of.
    pub fn device_name(&self) -> String {
        match &self.device {
            Some(device) => format!("{}/{}/{device}", self.group, self.node),
            None => self.node_name(),
        }
    }

    /// Where the node takes commands.
    pub fn command(group: &str, node: &str) -> String {
        format!("{NAMESPACE}/{group}/NCMD/{node}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics() {
        let topic = Topic::parse("spBv1.0/Plant 1/DDATA/press/gauge").unwrap();
        assert_eq!(
            (topic.kind, topic.device_name().as_str()),
            (Kind::DeviceData, "Plant 1/press/gauge")
        );
        let topic = Topic::parse("spBv1.0/g/NBIRTH/n").unwrap();
        assert_eq!(
            (topic.kind, topic.device_name().as_str()),
            (Kind::NodeBirth, "g/n")
        );
        for none in [
            "",
            "spBv1.0/STATE/host",
            "spBv1.0/STATE/NDATA/host",
            "spBv1.0/g/NCMD/n",
            "spBv1.0/g/NDATA",
            "spBv1.0/g/NDATA/",
            "spBv1.0/g/NDATA/n/d",
            "spBv1.0/g/DDATA/n",
            "spBv1.0/g/DDATA/n/d/e",
            "spAv1.0/g/NDATA/n",
            "SPBV1.0/g/NDATA/n",
        ] {
            assert_eq!(Topic::parse(none), None, "{none}");
        }
    }
}
