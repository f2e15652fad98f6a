//! `forewarn status`: what the installation holds and whether it keeps up.

use models::db::status::{Status, status};
use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};

/// # Errors
/// When the database can't be reached or has no schema.
pub async fn read(url: &str) -> anyhow::Result<Status> {
    let mut connection = url
        .parse::<PgConnectOptions>()?
        .application_name("forewarn-status")
        .connect()
        .await?;
    let status = status(&mut connection).await?;
    connection.close().await?;
    Ok(status)
}

/// The same for people: one fact a line.
pub fn text(status: &Status) -> String {
    let closes = status.readings_received
        == status.readings_stored
            + status.readings_duplicate
            + status.readings_conflict
            + status.readings_rejected;
    format!(
        "readings    {stored} stored, {duplicate} duplicate, {conflict} in conflict, {rejected} rejected; \
         the ledger {closes}\n\
         last        {last}\n\
         open        {dead} dead letters, {gaps} gaps in the sequence\n\
         assets      {assets} in {tenants} tenants, {assessed} assessed, oldest overdue by {overdue:.0} s\n\
         work        {alarms} alarms active, {cases} cases open, {open} of {tickets} tickets open, \
         {predictions} predictions to review, {occurrences} plan occurrences, {decisions} decisions",
        stored = status.readings_stored,
        duplicate = status.readings_duplicate,
        conflict = status.readings_conflict,
        rejected = status.readings_rejected,
        closes = if closes { "closes" } else { "DOES NOT CLOSE" },
        last = status
            .last_received_at
            .map_or_else(|| "nothing received yet".to_owned(), |at| at.to_string()),
        dead = status.dead_letters_open,
        gaps = status.gaps_open,
        assets = status.assets,
        tenants = status.tenants,
        assessed = status.assets_assessed,
        overdue = status.assessment_overdue_s,
        alarms = status.alarms_active,
        cases = status.cases_open,
        open = status.tickets_open,
        tickets = status.tickets,
        predictions = status.predictions_open,
        occurrences = status.occurrences,
        decisions = status.decisions,
    )
}
