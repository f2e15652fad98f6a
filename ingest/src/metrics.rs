//! Every name of a metric of ingest, in one place.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::writer::Done;

pub(crate) fn committed(took: Duration, done: &Done) {
    histogram!("forewarn_ingest_commit_seconds").record(took.as_secs_f64());
    for (result, n) in [
        ("stored", done.totals.stored),
        ("duplicate", done.totals.duplicate),
        ("conflict", done.totals.conflict),
        ("rejected", done.totals.rejected),
    ] {
        counter!("forewarn_ingest_readings_total", "result" => result).increment(n.unsigned_abs());
    }
    counter!("forewarn_ingest_payloads_total").increment(done.totals.payloads.unsigned_abs());
    if done.lost_batches > 0 {
        counter!("forewarn_ingest_lost_batches_total").increment(done.lost_batches);
    }
    if done.alarms > 0 {
        counter!("forewarn_ingest_alarm_changes_total").increment(done.alarms);
    }
}

/// Counted before the transaction, which may be repeated; the dead letter is written once.
pub(crate) fn undecodable(reason: &'static str) {
    counter!("forewarn_ingest_undecodable_payloads_total", "reason" => reason).increment(1);
}

/// Readings of a payload that was understood; counted as the above, their dead letter is written once.
pub(crate) fn rejected(reason: &'static str, n: usize) {
    counter!("forewarn_ingest_rejected_readings_total", "reason" => reason).increment(n as u64);
}

pub(crate) fn events_refused(n: usize) {
    counter!("forewarn_ingest_refused_events_total").increment(n as u64);
}

pub(crate) fn abandoned() {
    counter!("forewarn_ingest_abandoned_payloads_total").increment(1);
}

pub(crate) fn replayed(result: &'static str) {
    counter!("forewarn_ingest_replayed_dead_letters_total", "result" => result).increment(1);
}

/// What stands in the database, over all gateways.
pub(crate) fn open_dead_letters(letters: i64, readings: i64) {
    gauge!("forewarn_ingest_open_dead_letters").set(letters as f64);
    gauge!("forewarn_ingest_open_dead_letter_readings").set(readings as f64);
}

/// Sequences with a hole: batches that are missing and may still come, and batches known to be lost.
pub(crate) fn gaps(open: i64, lost: i64) {
    gauge!("forewarn_ingest_open_gap_batches").set(open as f64);
    gauge!("forewarn_ingest_lost_gap_batches").set(lost as f64);
}

pub(crate) fn batch(payloads: usize, rows: usize) {
    histogram!("forewarn_ingest_batch_payloads").record(payloads as f64);
    histogram!("forewarn_ingest_batch_rows").record(rows as f64);
}

pub(crate) fn retried() {
    counter!("forewarn_ingest_database_retries_total").increment(1);
}

pub(crate) fn refused_connection(reason: &'static str) {
    counter!("forewarn_ingest_refused_connections_total", "reason" => reason).increment(1);
}

pub(crate) fn closed_connection(reason: &'static str) {
    counter!("forewarn_ingest_closed_connections_total", "reason" => reason).increment(1);
}

pub(crate) fn refused_publish(reason: &'static str) {
    counter!("forewarn_ingest_refused_publishes_total", "reason" => reason).increment(1);
}

pub(crate) fn dropped_down(reason: &'static str) {
    counter!("forewarn_ingest_dropped_down_messages_total", "reason" => reason).increment(1);
}

pub(crate) fn connections(n: usize) {
    gauge!("forewarn_ingest_connections").set(n as f64);
}

pub(crate) fn in_flight(change: f64) {
    gauge!("forewarn_ingest_in_flight_payloads").increment(change);
}

/// An acknowledgement of something that was never sent, or was acknowledged before.
pub(crate) fn unknown_acknowledgement() {
    counter!("forewarn_ingest_unknown_acknowledgements_total").increment(1);
}

pub(crate) fn quota_wait(limit: &'static str, wait: Duration) {
    counter!("forewarn_ingest_quota_waits_total", "limit" => limit).increment(1);
    histogram!("forewarn_ingest_quota_wait_seconds", "limit" => limit).record(wait.as_secs_f64());
}

pub(crate) fn paced() {
    counter!("forewarn_ingest_paced_accepts_total").increment(1);
}

/// Sparkplug metrics that say they have no value, or that are not to be stored.
pub(crate) fn metrics_without_value(n: usize) {
    counter!("forewarn_ingest_metrics_without_value_total").increment(n as u64);
}

pub(crate) fn rebirth_asked() {
    counter!("forewarn_ingest_rebirths_asked_total").increment(1);
}

/// A connection to a foreign broker that ended or never came about.
pub(crate) fn foreign_broken() {
    counter!("forewarn_ingest_foreign_broken_connections_total").increment(1);
}
