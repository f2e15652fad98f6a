//! Who may do what inside a tenant: roles are bundles of permissions, and what no role names nobody may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that names no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a permission")]
pub struct PermissionError(String);

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// One thing a person or a key may do. Written `resource:verb`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission {
            $($(#[$doc])* $name,)*
        }

        impl Permission {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

permissions! {
    /// The register, health, channels and their history.
    AssetsRead = "assets:read";
    AssetsWrite = "assets:write";
    AlarmsRead = "alarms:read";
    /// Acknowledge, shelve.
    AlarmsAct = "alarms:act";
    RulesWrite = "rules:write";
    /// Cases, predictions and the reasons of dispatch.
    CasesRead = "cases:read";
    /// Claim, accept, attach, dismiss, snooze.
    PredictionsAct = "predictions:act";
    TicketsRead = "tickets:read";
    /// Create, change, move and comment tickets.
    TicketsWrite = "tickets:write";
    /// Plans, occurrences and meters.
    PlansRead = "plans:read";
    PlansWrite = "plans:write";
    MetersWrite = "meters:write";
    /// Gateways, the ledger and dead letters.
    IngestRead = "ingest:read";
    /// Make gateways and their credentials, discard dead letters.
    IngestWrite = "ingest:write";
    /// Who works here: members, skills, shifts, qualifications.
    PeopleRead = "people:read";
    PeopleWrite = "people:write";
    /// Decide on permits, make risk matrices, lock-out procedures and what work asks for.
    SafetyWrite = "safety:write";
    /// Feed the stock.
    PartsWrite = "parts:write";
    /// Webhooks and messages: what leaves, and where to.
    IntegrationsRead = "integrations:read";
    IntegrationsWrite = "integrations:write";
    KeysRead = "keys:read";
    KeysWrite = "keys:write";
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, PermissionError> {
        Self::ALL
            .iter()
            .copied()
            .find(|permission| permission.as_str() == text)
            .ok_or_else(|| PermissionError(text.to_owned()))
    }
}

/// What a person is in a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "db",
    derive(sqlx::Type),
    sqlx(type_name = "member_role", rename_all = "snake_case")
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MemberRole {
    Viewer,
    Operator,
    Technician,
    Planner,
    ReliabilityEngineer,
    SafetyOfficer,
    TenantAdmin,
}

impl MemberRole {
    pub const ALL: [Self; 7] = [
        Self::Viewer,
        Self::Operator,
        Self::Technician,
        Self::Planner,
        Self::ReliabilityEngineer,
        Self::SafetyOfficer,
        Self::TenantAdmin,
    ];

    /// Everybody reads what machines do; keys are the administrator's alone.
    pub fn may(self, permission: Permission) -> bool {
        use Permission::*;
        match permission {
            AssetsRead | AlarmsRead | CasesRead | TicketsRead | PlansRead | IngestRead => true,
            AlarmsAct => self != Self::Viewer,
            MetersWrite => !matches!(self, Self::Viewer | Self::SafetyOfficer),
            TicketsWrite => self != Self::Viewer,
            PredictionsAct => matches!(
                self,
                Self::Planner | Self::ReliabilityEngineer | Self::TenantAdmin
            ),
            PlansWrite => matches!(
                self,
                Self::Planner | Self::ReliabilityEngineer | Self::TenantAdmin
            ),
            AssetsWrite | RulesWrite => matches!(self, Self::ReliabilityEngineer | Self::TenantAdmin),
            PeopleRead => true,
            PeopleWrite | PartsWrite => matches!(self, Self::Planner | Self::TenantAdmin),
            SafetyWrite => matches!(self, Self::SafetyOfficer | Self::TenantAdmin),
            IngestWrite | KeysRead | KeysWrite | IntegrationsRead | IntegrationsWrite => {
                self == Self::TenantAdmin
            }
        }
    }

    pub fn permissions(self) -> Vec<Permission> {
        Permission::ALL
            .iter()
            .copied()
            .filter(|permission| self.may(*permission))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_what_they_write() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(*permission));
        }
        assert!("assets:everything".parse::<Permission>().is_err());
    }

    #[test]
    fn a_viewer_only_reads_and_an_administrator_does_all() {
        for permission in MemberRole::Viewer.permissions() {
            assert!(permission.as_str().ends_with(":read"), "{permission}");
        }
        assert_eq!(MemberRole::TenantAdmin.permissions(), Permission::ALL);
        assert!(!MemberRole::Planner.may(Permission::KeysRead));
    }
}
