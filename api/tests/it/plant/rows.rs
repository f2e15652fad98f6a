//! What a running plant has written: by statements, because no order of a person makes it.

use super::*;

/// What surrounds work: people, gates, parts, failures. The administrator is a technician who may do
/// everything at any time, so that the gates are in use and open for him.
pub(super) async fn work_around(db: &mut PgConnection, plant: &Plant) {
    let store = api::store::Store::from(api::store::Folder::new(ATTACHMENTS));
    let sha256 = store.put(PICTURE.into()).await.unwrap();
    macro_rules! with {
        ($($sql:literal)*) => {[$(concat!(
            "WITH p AS (SELECT $1::uuid ten, $2::uuid ast, $3::uuid tkt, $4::uuid usr, $5::uuid sit, $6::uuid shf,
                $7::uuid req, $8::uuid prm, $9::uuid lop, $10::uuid att, $11::uuid lck, $12::uuid wfs, $13::uuid rsv,
                $14::uuid pst, $15::uuid dwn, $16::uuid rul, $17::bytea sha, $18::uuid rel,
                $19::uuid whk, $20::uuid dlv, $21::uuid ntr) ", $sql)),*]};
    }
    for sql in with![
        "INSERT INTO technician (tenant_id, user_id, skills, home_site_id) SELECT ten, usr, '{general,electricity}', sit FROM p"
        "INSERT INTO technician_shift (id, tenant_id, user_id, kind, starts_at, ends_at, created_by)
             SELECT shf, ten, usr, 'working', '2000-01-01', '2100-01-01', 'test' FROM p"
        "INSERT INTO qualification (id, tenant_id, user_id, kind, code, valid_from)
             SELECT gen_random_uuid(), ten, usr, 'training', 'site_induction', '2000-01-01' FROM p"
        "INSERT INTO work_requirement (id, tenant_id, asset_id, qualification) SELECT req, ten, ast, 'site_induction' FROM p"
        "INSERT INTO risk_matrix (id, tenant_id, name, bounds, levels)
             SELECT gen_random_uuid(), ten, 'plant', '{0.1,0.2,0.3,0.4}', array_fill('high'::risk_level, ARRAY[25]) FROM p"
        "INSERT INTO work_permit (id, tenant_id, ticket_id, status, work, hazards, precautions, likelihood, consequence, risk,
                 valid_from, valid_until, requested_by)
             SELECT prm, ten, tkt, 'requested', 'hot work', 'fire', 'watch', 4, 4, 'high', now(), now() + interval '8 h', 'usr' FROM p"
        "INSERT INTO loto_procedure (id, tenant_id, asset_id, name, points)
             SELECT lop, ten, ast, 'drive', '[{\"point\": \"Q1\", \"energy\": \"400 V\", \"action\": \"lock\"}]' FROM p"
        "INSERT INTO attachment (id, tenant_id, ticket_id, name, media_type, size_bytes, sha256, created_by)
             SELECT att, ten, tkt, 'lock.png', 'image/png', 20, sha, 'usr' FROM p"
        "INSERT INTO loto_lock (id, tenant_id, ticket_id, asset_id, procedure_id, point, tag, applied_by, applied_at, photo_id,
                 removed_by, removed_at)
             SELECT lck, ten, tkt, ast, lop, 'Q1', '17', 'usr', now(), att, 'usr', now() FROM p"
        "INSERT INTO workflow_step (id, tenant_id, state, code, name, position, mandatory)
             SELECT wfs, ten, 'planned', 'look', 'Look at it', 1, false FROM p"
        "INSERT INTO ticket_step (ticket_id, step_id, tenant_id, done_at, done_by) SELECT tkt, wfs, ten, now(), 'usr' FROM p"
        "INSERT INTO ticket (id, tenant_id, number, asset_id, origin, origin_key, title, priority, status)
             SELECT rel, ten, 0, ast, 'person', 'older', 'An older ticket', 'low', 'cancelled' FROM p"
        "INSERT INTO ticket_relation (id, tenant_id, ticket_id, kind, other_id, created_by)
             SELECT rel, ten, tkt, 'related_to', rel, 'usr' FROM p"
        "INSERT INTO sla_policy (tenant_id, priority, respond_s, restore_s) SELECT ten, 'critical', 3600, 7200 FROM p"
        "INSERT INTO ticket_sla (ticket_id, clock, tenant_id, target_s, elapsed_s, computed_at)
             SELECT tkt, 'respond', ten, 3600, 0, now() FROM p"
        "INSERT INTO ticket_pause (tenant_id, ticket_id, reason, from_at, to_at) SELECT ten, tkt, 'weather', now(), now() FROM p"
        "INSERT INTO site_calendar (site_id, tenant_id, week) SELECT sit, ten, '{\"mon\": [[\"06:00\", \"22:00\"]]}' FROM p"
        "INSERT INTO part_stock (tenant_id, part_number, warehouse, on_hand, as_of) SELECT ten, '6308', 'main', 4, now() FROM p"
        "INSERT INTO part_reservation (id, tenant_id, asset_id, ticket_id, part_number, quantity, kind, reason)
             SELECT rsv, ten, ast, tkt, '6308', 2, 'hard', 'by hand' FROM p"
        "INSERT INTO part_posting (id, tenant_id, ticket_id, asset_id, part_number, warehouse, quantity, unit, posted_at, posted_by)
             SELECT pst, ten, tkt, ast, '6308', 'main', 1, '1', now(), 'usr' FROM p"
        "INSERT INTO part_shortage (tenant_id, cause, part_number, asset_id, missing, reason) SELECT ten, 'x', '6308', ast, 1, 'x' FROM p"
        "INSERT INTO failure_code (id, tenant_id, level, code, name) SELECT gen_random_uuid(), ten, 'cause', 'birds', 'Birds' FROM p"
        "INSERT INTO downtime (id, tenant_id, asset_id, started_at, ended_at, source, reason)
             SELECT dwn, ten, ast, now() - interval '5 h', now() - interval '3 h', 'person', 'equipment_failure' FROM p"
        "INSERT INTO downtime_signal (rule_id, tenant_id) SELECT rul, ten FROM p"
        "INSERT INTO webhook (id, tenant_id, name, url, kinds, secret, enabled, after_id, created_by)
             SELECT whk, ten, 'erp', 'https://erp.example/hook', '{*}', 'whsec_AAAA', false, 0, 'usr' FROM p"
        "INSERT INTO webhook_delivery (id, tenant_id, webhook_id, event_id, kind, payload)
             SELECT dlv, ten, whk, 1, 'ticket.created', '{}' FROM p"
        "INSERT INTO webhook_attempt (tenant_id, delivery_id, at, status_code, duration_ms) SELECT ten, dlv, now(), 500, 12 FROM p"
        "INSERT INTO notification_rule (id, tenant_id, name, role, channel, kinds, time_zone, enabled, after_id, created_by)
             SELECT ntr, ten, 'planners', 'planner', 'email', '{*}', 'UTC', false, 0, 'usr' FROM p"
        "INSERT INTO notification (id, tenant_id, rule_id, event_id, user_id, recipient, severity, line, due_at, sent_at)
             SELECT gen_random_uuid(), ten, ntr, 1, usr, 'x@example', 'info', 'x', now(), now() FROM p"
        "INSERT INTO external_alert (tenant_id, source, fingerprint, asset_id, name, severity, summary, labels, starts_at)
             SELECT ten, 'alertmanager', 'x', ast, 'x', 'info', 'x', '{}', now() FROM p"
    ] {
        sqlx::query(sql)
            .bind(plant.tenant)
            .bind(plant.asset)
            .bind(plant.ticket)
            .bind(plant.admin)
            .bind(plant.site)
            .bind(plant.shift)
            .bind(plant.requirement)
            .bind(plant.permit)
            .bind(plant.procedure)
            .bind(plant.attachment)
            .bind(plant.lock)
            .bind(plant.step)
            .bind(plant.reservation)
            .bind(plant.posting)
            .bind(plant.downtime)
            .bind(plant.rule)
            .bind(&sha256[..])
            .bind(plant.relation)
            .bind(plant.webhook)
            .bind(plant.delivery)
            .bind(plant.notification_rule)
            .execute(&mut *db)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// What the services would have written.
pub(super) async fn happen(db: &mut PgConnection, plant: &mut Plant) {
    let model = plant.model;
    let now = Timestamp::now();
    let run = async |db: &mut PgConnection, sql: &'static str, plant: &Plant| {
        sqlx::query(sql)
            .bind(plant.tenant)
            .bind(plant.asset)
            .bind(plant.case)
            .bind(plant.ticket)
            .bind(plant.prediction)
            .bind(plant.alarm)
            .bind(plant.rule)
            .bind(plant.channel)
            .bind(plant.gateway)
            .bind(plant.plan)
            .bind(plant.occurrence)
            .bind(plant.meter)
            .bind(plant.device)
            .bind(plant.dead_letter)
            .bind(plant.task)
            .bind(plant.failure_mode)
            .bind(model)
            .bind(now)
            .execute(&mut *db)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    };
    // Every statement names all parameters in a CTE of types, so that each can use the ones it needs.
    macro_rules! with {
        ($($sql:literal)*) => {[$(concat!(
            "WITH p AS (SELECT $1::uuid ten, $2::uuid ast, $3::uuid cas, $4::uuid tkt, $5::uuid prd, $6::uuid alm,
                $7::uuid rul, $8::int4 chn, $9::uuid gtw, $10::uuid pln, $11::uuid occ, $12::uuid mtr, $13::uuid dev,
                $14::uuid dlt, $15::uuid tsk, $16::uuid fmd, $17::uuid mdl, $18::timestamptz now_) ", $sql)),*]};
    }
    for sql in with![
        "INSERT INTO reading SELECT now_ - make_interval(secs => 10 * i), 5 + sin(i), chn, 0
             FROM p, (SELECT generate_series(1, 60) UNION ALL SELECT 100) AS s (i)"
        "INSERT INTO discrete_event SELECT now_, ten, dev, ast, 'E-1', 1::smallint, 'trip' FROM p"
        "INSERT INTO ledger (gateway_id, tenant_id, day, received, stored, duplicate, rejected, payloads)
             SELECT gtw, ten, (now() AT TIME ZONE 'UTC')::date, 62, 60, 1, 1, 6 FROM p"
        "INSERT INTO tenant_authority (id, tenant_id, name, certificate, sha256, created_by)
             SELECT gtw, ten, 'devices', sha256('x'), sha256('x'), 'test' FROM p"
        "INSERT INTO sequence_gap (gateway_id, tenant_id, epoch, first_seq, last_seq) SELECT gtw, ten, 1, 3, 4 FROM p"
        "INSERT INTO gateway_cursor (gateway_id, tenant_id, epoch, contiguous_seq) SELECT gtw, ten, 1, 2 FROM p"
        "INSERT INTO cursor_ahead (gateway_id, tenant_id, epoch, seq) SELECT gtw, ten, 1, 5 FROM p"
        "INSERT INTO reading_conflict (channel_id, ts, value, quality, gateway_id, tenant_id)
             SELECT chn, now_, 9, 0::smallint, gtw, ten FROM p"
        "INSERT INTO dead_letter (id, tenant_id, gateway_id, topic, payload, format, reason, detail, readings)
             SELECT dlt, ten, gtw, 'fw/1/x', '{\"value\": ', 'json', 'malformed_json', 'ends early', 0 FROM p"
        "INSERT INTO model_version (id, tenant_id, name, scope, version, status, artifact, card, code_version,
                 trained_from, trained_to)
             SELECT mdl, ten, 'baseline', 'x', 1, 'champion', '{}', '{}', 'test', now_, now_ FROM p"
        "INSERT INTO drift_report (id, tenant_id, class_id, model_id, data_from, data_to, rows, retrain, reasons, features,
                 figures)
             SELECT gen_random_uuid(), ten, (SELECT class_id FROM asset WHERE id = ast), mdl, now_, now_, 9, true, '[]', '[]',
                 '{}' FROM p"
        "INSERT INTO model_event (tenant_id, model_id, kind, actor) SELECT ten, mdl, 'trained', 'analytics' FROM p"
        "INSERT INTO assessment (window_end, tenant_id, asset_id, model_version_id, window_start, health, anomaly,
                 coverage, freshness_s, failure_mode_id, p_fail, rul_p10_h, rul_p50_h, factors, advice, notes, code_version)
             SELECT now_ - make_interval(hours => i), ten, ast, mdl, now_ - make_interval(hours => i + 1), 60 + i, 0.5, 1, 5,
                 fmd, '[{\"horizon_h\": 720, \"p\": 0.3, \"low\": 0.2, \"high\": 0.4, \"basis\": \"test\"}]', 100, 200,
                 jsonb_build_array(jsonb_build_object('name', 'vibration', 'penalty', 40 - i, 'text', 'vibration is high')),
                 '{\"action\": \"plan\"}', '[]', 'test'
             FROM p, generate_series(0, 4) i"
        "INSERT INTO feature (window_end, tenant_id, asset_id, window_start, features)
             SELECT now_, ten, ast, now_ - interval '1 hour', '{}' FROM p"
        "INSERT INTO case_file (id, tenant_id, asset_id, failure_mode_id, title, severity)
             SELECT cas, ten, ast, fmd, 'Bearing wear on P-101', 'serious' FROM p"
        "INSERT INTO alarm (id, tenant_id, rule_id, asset_id, channel_id, failure_mode_id, severity, condition,
                 pending_since, active_at, first_value, last_value, peak_value, limit_value, case_id)
             SELECT alm, ten, rul, ast, chn, fmd, 'serious', 'active', now_, now_, 8, 8, 8, 7.1, cas FROM p"
        "INSERT INTO alarm_event (tenant_id, alarm_id, kind, actor) SELECT ten, alm, 'raised', 'ingest' FROM p"
        "INSERT INTO prediction (id, tenant_id, asset_id, failure_mode_id, horizon_h, probability, p_low, p_high,
                 peak_probability, factors, model_version_id, window_end, case_id)
             SELECT prd, ten, ast, fmd, 720, 0.3, 0.2, 0.4, 0.3, '[]', mdl, now_, cas FROM p"
        "INSERT INTO prediction_event (tenant_id, prediction_id, kind, actor) SELECT ten, prd, 'opened', 'analytics' FROM p"
        "INSERT INTO ticket (id, tenant_id, number, asset_id, case_id, failure_mode_id, origin, origin_key, title, priority)
             SELECT tkt, ten, 1, ast, cas, fmd, 'alarm', alm::text, 'Bearing wear on P-101', 'high' FROM p"
        "INSERT INTO ticket_counter (tenant_id, last_number) SELECT ten, 1 FROM p"
        "INSERT INTO ticket_task (id, tenant_id, ticket_id, position, kind, text) SELECT tsk, ten, tkt, 1, 'check', 'look' FROM p"
        "INSERT INTO ticket_event (tenant_id, ticket_id, kind, actor) SELECT ten, tkt, 'created', 'analytics' FROM p"
        "INSERT INTO plan_occurrence (id, tenant_id, plan_id, sequence, due_date, trigger, explanation)
             SELECT occ, ten, pln, 1, '2026-04-01', 'calendar', 'due by calendar' FROM p"
        "INSERT INTO meter_reading (meter_id, tenant_id, at, total, delta, entered_by)
             SELECT mtr, ten, now_ - interval '1 day', 100, 100, 'analytics' FROM p"
        "INSERT INTO dispatch_decision (id, tenant_id, case_id, asset_id, subject, outcome, ticket_id, reason)
             SELECT gen_random_uuid(), ten, cas, ast, alm::text, 'created', tkt, 'a serious alarm' FROM p"
        "INSERT INTO outbox (tenant_id, kind, subject, asset_id, data) SELECT ten, 'ticket.created', tkt::text, ast, '{}' FROM p"
        "INSERT INTO audit_event (tenant_id, actor, action, subject) SELECT ten, 'usr', 'asset.create', ast::text FROM p"
        "INSERT INTO failure_report (id, tenant_id, asset_id, failed_at, source)
             SELECT gen_random_uuid(), ten, ast, now_, 'person' FROM p"
        "INSERT INTO bom_item (id, tenant_id, asset_id, part_number, description, quantity)
             SELECT gen_random_uuid(), ten, ast, '6308', 'bearing', 2 FROM p"
        "INSERT INTO area (id, tenant_id, site_id, name)
             SELECT gen_random_uuid(), ten, (SELECT site_id FROM asset WHERE id = ast), 'Hall' FROM p"
        "INSERT INTO idempotency_key (tenant_id, credential, route, key, fingerprint, status, body)
             SELECT ten, 'usr', 'POST /', 'k', '\\x00', 200, '{}' FROM p"
    ] {
        run(db, sql, plant).await;
    }
}
