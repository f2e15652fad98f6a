//! SQL of the signing secrets as they are stored: for those who encrypt them.
//!
//! The tables keep texts; whether one is sealed, and with what, is the API's business
//! (`api::outbound::seal`).

use sqlx::PgConnection;

use crate::id::{NotificationRuleId, WebhookId};

/// Where a secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Webhook(WebhookId),
    /// The one that signs beside the new one for a while.
    PreviousOfWebhook(WebhookId),
    NotificationRule(NotificationRuleId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub place: Place,
    pub stored: String,
}

impl Secret {
    /// The row it belongs to, by its prefixed id.
    pub fn owner(&self) -> String {
        match self.place {
            Place::Webhook(id) | Place::PreviousOfWebhook(id) => id.to_string(),
            Place::NotificationRule(id) => id.to_string(),
        }
    }
}

/// Every signing secret of the tenant that the connection acts for.
///
/// # Errors
/// When the database does.
pub async fn all(connection: &mut PgConnection) -> Result<Vec<Secret>, sqlx::Error> {
    let webhooks: Vec<(WebhookId, String, Option<String>)> =
        sqlx::query_as("SELECT id, secret, previous_secret FROM webhook ORDER BY id")
            .fetch_all(&mut *connection)
            .await?;
    let rules: Vec<(NotificationRuleId, String)> = sqlx::query_as(
        "SELECT id, webhook_secret FROM notification_rule WHERE webhook_secret IS NOT NULL ORDER BY id",
    )
    .fetch_all(connection)
    .await?;
    let mut secrets = Vec::new();
    for (id, stored, previous) in webhooks {
        let place = Place::Webhook(id);
        secrets.push(Secret { place, stored });
        let place = Place::PreviousOfWebhook(id);
        secrets.extend(previous.map(|stored| Secret { place, stored }));
    }
    secrets.extend(rules.into_iter().map(|(id, stored)| {
        let place = Place::NotificationRule(id);
        Secret { place, stored }
    }));
    Ok(secrets)
}

/// Stores `new` in the place of `old`, unless somebody has changed it meanwhile. Gives how many rows.
///
/// # Errors
/// When the database does.
pub async fn replace(connection: &mut PgConnection, old: &Secret, new: &str) -> Result<u64, sqlx::Error> {
    let (statement, id) = match old.place {
        Place::Webhook(id) => (
            "UPDATE webhook SET secret = $3 WHERE id = $1 AND secret = $2",
            id.uuid(),
        ),
        Place::PreviousOfWebhook(id) => (
            "UPDATE webhook SET previous_secret = $3 WHERE id = $1 AND previous_secret = $2",
            id.uuid(),
        ),
        Place::NotificationRule(id) => (
            "UPDATE notification_rule SET webhook_secret = $3 WHERE id = $1 AND webhook_secret = $2",
            id.uuid(),
        ),
    };
    Ok(sqlx::query(statement)
        .bind(id)
        .bind(&old.stored)
        .bind(new)
        .execute(connection)
        .await?
        .rows_affected())
}
