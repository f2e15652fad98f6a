//! Typed ids: UUIDv7 inside, `prefix_` and 32 hex digits outside, so that an id in a log or a
//! ticket says what it names and sorts by age.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Text that is not an id of the kind wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id: expected `{prefix}_` and 32 hex digits")]
pub struct IdError {
    prefix: &'static str,
    text: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A new id; later ones sort after earlier ones.
            #[expect(clippy::new_without_default, reason = "an id has no default: each one is new")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| IdError { prefix: $prefix, text: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                text_schema(concat!("^", $prefix, "_[0-9a-f]{32}$"), concat!($prefix, "_0198c4f2a1b27c3d8e4f5a6b7c8d9e0f"))
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}

        #[cfg(feature = "db")]
        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <Uuid as sqlx::Type<sqlx::Postgres>>::type_info()
            }
        }

        #[cfg(feature = "db")]
        impl sqlx::postgres::PgHasArrayType for $name {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <Uuid as sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }

        #[cfg(feature = "db")]
        impl<'q> sqlx::Encode<'q, sqlx::Postgres> for $name {
            fn encode_by_ref(
                &self,
                buf: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                <Uuid as sqlx::Encode<'q, sqlx::Postgres>>::encode_by_ref(&self.0, buf)
            }
        }

        #[cfg(feature = "db")]
        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $name {
            fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                Ok(Self(<Uuid as sqlx::Decode<'r, sqlx::Postgres>>::decode(value)?))
            }
        }
    )*};
}

ids! {
    TenantId = "ten";
    SiteId = "sit";
    AreaId = "are";
    UserId = "usr";
    ApiKeyId = "key";
    AssetClassId = "cls";
    AssetId = "ast";
    FailureModeId = "fmd";
    FailureReportId = "flr";
    BomItemId = "bom";
    GatewayId = "gtw";
    CredentialId = "crd";
    AuthorityId = "cau";
    DeviceId = "dev";
    DeadLetterId = "dlt";
    MeterId = "mtr";
    PlanId = "pln";
    OccurrenceId = "occ";
    ModelVersionId = "mdl";
    AlarmRuleId = "rul";
    AlarmId = "alm";
    CaseId = "cas";
    PredictionId = "prd";
    TicketId = "tkt";
    TaskId = "tsk";
    DecisionId = "dec";
    ShiftId = "shf";
    QualificationId = "qlf";
    RequirementId = "req";
    MatrixId = "rsk";
    PermitId = "prm";
    ProcedureId = "lop";
    LockId = "lck";
    AttachmentId = "att";
    StepId = "wfs";
    RelationId = "rel";
    ReservationId = "rsv";
    PostingId = "pst";
    FailureCodeId = "fcd";
    DowntimeId = "dwn";
    WebhookId = "whk";
    DeliveryId = "dlv";
    NotificationRuleId = "ntr";
    NotificationId = "ntf";
}

/// A channel's key. An integer, because it stands in every reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "db", derive(sqlx::Type), sqlx(transparent))]
pub struct ChannelId(pub i32);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chn_{}", self.0)
    }
}

impl FromStr for ChannelId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("chn_")
            .and_then(|number| number.parse().ok())
            .filter(|number| *number > 0)
            .map(Self)
            .ok_or_else(|| IdError {
                prefix: "chn",
                text: text.to_owned(),
            })
    }
}

impl Serialize for ChannelId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChannelId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
fn text_schema(pattern: &str, example: &str) -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .pattern(Some(pattern))
        .examples([example])
        .into()
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ChannelId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        text_schema("^chn_[1-9][0-9]*$", "chn_42")
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ChannelId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_what_they_write() {
        let id = AssetId::new();
        assert!(id.to_string().starts_with("ast_"));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ChannelId(7).to_string().parse(), Ok(ChannelId(7)));
    }

    #[test]
    fn another_kinds_id_is_refused_and_named() {
        let error = TicketId::new().to_string().parse::<AssetId>().unwrap_err();
        assert!(error.to_string().contains("`ast_`"), "{error}");
        assert!("ast_12".parse::<AssetId>().is_err());
        assert!("chn_0".parse::<ChannelId>().is_err());
    }
}
