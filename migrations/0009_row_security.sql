-- Rights: deny unless granted.
--
-- The API acts for one tenant at a time and says which by
--     SET LOCAL forewarn.tenant_id = '…'
-- at the start of each transaction. Without it current_tenant() raises, so that a forgotten setting
-- is an error and never "everything".
-- Ingest and analytics work for all tenants; their roles see all rows of the tables they need and
-- have no right on the others.

CREATE FUNCTION current_tenant() RETURNS uuid LANGUAGE plpgsql STABLE AS $$
DECLARE
    setting text := current_setting('forewarn.tenant_id', true);
BEGIN
    IF setting IS NULL OR setting = '' THEN
        RAISE EXCEPTION 'forewarn.tenant_id is not set in this transaction' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN setting::uuid;
END
$$;

-- The same policy for every table that has a tenant_id and is not a hypertable (TimescaleDB refuses
-- columnstore and continuous aggregates on a table with row security). A loop, so that no table can
-- be forgotten; a test compares it with the catalogue.
CREATE PROCEDURE protect_tenant_tables() LANGUAGE plpgsql AS $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT c.relname AS name
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
          AND NOT EXISTS (SELECT FROM timescaledb_information.hypertables h
                          WHERE h.hypertable_schema = 'public' AND h.hypertable_name = c.relname)
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t.name);
        EXECUTE format('CREATE POLICY tenant_only ON %I TO forewarn_api
                        USING (tenant_id = (SELECT current_tenant()))
                        WITH CHECK (tenant_id = (SELECT current_tenant()))', t.name);
        EXECUTE format('CREATE POLICY service_all ON %I TO forewarn_ingest, forewarn_analytics
                        USING (true) WITH CHECK (true)', t.name);
    END LOOP;
END
$$;
CALL protect_tenant_tables();

ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON tenant TO forewarn_api USING (id = (SELECT current_tenant()));
CREATE POLICY service_all ON tenant TO forewarn_ingest, forewarn_analytics USING (true);

-- A person is visible to the tenants he is a member of.
ALTER TABLE app_user ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON app_user TO forewarn_api
    USING (EXISTS (SELECT FROM membership m WHERE m.user_id = app_user.id AND m.tenant_id = (SELECT current_tenant())));
CREATE POLICY service_all ON app_user TO forewarn_ingest, forewarn_analytics USING (true);

-- Built-in models have no tenant and are visible to all.
DROP POLICY tenant_only ON model_version;
CREATE POLICY tenant_only ON model_version FOR SELECT TO forewarn_api
    USING (tenant_id IS NULL OR tenant_id = (SELECT current_tenant()));

-- Some members belong to one site of their tenant (membership.site_id). For them the API says
--     SET LOCAL forewarn.site_id = '…'
-- and these policies, which are restrictive and so narrow the ones above, leave only what hangs on
-- that site. A policy asks its parent table, whose own policy has narrowed it already: the chain
-- ends at site. What is the whole tenant's business (API keys, events of no asset) is hidden.
CREATE FUNCTION current_site() RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT nullif(current_setting('forewarn.site_id', true), '')::uuid
$$;

DO $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT * FROM (VALUES
            ('site', 'id = (SELECT current_site())'),
            ('area', 'site_id = (SELECT current_site())'),
            ('asset', 'site_id = (SELECT current_site())'),
            ('gateway', 'site_id = (SELECT current_site())'),
            ('api_key', 'false'),
            ('audit_event', 'false'),
            ('bom_item', 'asset_id IN (SELECT id FROM asset)'),
            ('failure_report', 'asset_id IN (SELECT id FROM asset)'),
            ('assessment_schedule', 'asset_id IN (SELECT id FROM asset)'),
            ('meter', 'asset_id IN (SELECT id FROM asset)'),
            ('maintenance_plan', 'asset_id IN (SELECT id FROM asset)'),
            ('alarm_rule', 'asset_id IN (SELECT id FROM asset)'),
            ('alarm', 'asset_id IN (SELECT id FROM asset)'),
            ('case_file', 'asset_id IN (SELECT id FROM asset)'),
            ('prediction', 'asset_id IN (SELECT id FROM asset)'),
            ('ticket', 'asset_id IN (SELECT id FROM asset)'),
            ('dispatch_decision', 'asset_id IN (SELECT id FROM asset)'),
            ('outbox', 'asset_id IN (SELECT id FROM asset)'),
            ('meter_reading', 'meter_id IN (SELECT id FROM meter)'),
            ('plan_occurrence', 'plan_id IN (SELECT id FROM maintenance_plan)'),
            ('alarm_event', 'alarm_id IN (SELECT id FROM alarm)'),
            ('prediction_event', 'prediction_id IN (SELECT id FROM prediction)'),
            ('ticket_task', 'ticket_id IN (SELECT id FROM ticket)'),
            ('ticket_event', 'ticket_id IN (SELECT id FROM ticket)'),
            ('gateway_credential', 'gateway_id IN (SELECT id FROM gateway)'),
            ('gateway_cursor', 'gateway_id IN (SELECT id FROM gateway)'),
            ('cursor_ahead', 'gateway_id IN (SELECT id FROM gateway)'),
            ('ledger', 'gateway_id IN (SELECT id FROM gateway)'),
            ('sequence_gap', 'gateway_id IN (SELECT id FROM gateway)'),
            ('dead_letter', 'gateway_id IN (SELECT id FROM gateway)'),
            ('reading_conflict', 'gateway_id IN (SELECT id FROM gateway)'),
            ('device', 'gateway_id IN (SELECT id FROM gateway)'),
            ('channel', 'device_id IN (SELECT id FROM device)')
        ) AS v (name, inside)
    LOOP
        EXECUTE format('CREATE POLICY site_only ON %I AS RESTRICTIVE TO forewarn_api
                        USING ((SELECT current_site()) IS NULL OR %s)', t.name, t.inside);
    END LOOP;
END
$$;
-- Everybody's deeds are noted, whatever he may read.
DROP POLICY site_only ON audit_event;
CREATE POLICY site_only ON audit_event AS RESTRICTIVE FOR SELECT TO forewarn_api
    USING ((SELECT current_site()) IS NULL);

GRANT USAGE ON SCHEMA public TO forewarn_ingest, forewarn_analytics, forewarn_api;

-- Ingest: reads the register, registers what it meets, writes readings, ledger and limit alarms.
GRANT SELECT ON tenant, site, asset, gateway, gateway_credential, device, channel, alarm_rule, alarm, failure_mode
    TO forewarn_ingest;
GRANT INSERT ON device, channel, discrete_event, reading_conflict, alarm, alarm_event, outbox, sequence_gap, dead_letter
    TO forewarn_ingest;
GRANT SELECT, INSERT ON reading TO forewarn_ingest;
GRANT SELECT, INSERT, UPDATE ON gateway_cursor, ledger TO forewarn_ingest;
GRANT SELECT, INSERT, DELETE ON cursor_ahead TO forewarn_ingest;
GRANT UPDATE ON alarm, sequence_gap, dead_letter TO forewarn_ingest;
GRANT SELECT ON sequence_gap, dead_letter, reading_conflict, discrete_event TO forewarn_ingest;

-- Analytics: reads everything about machines, writes what it concludes.
GRANT SELECT ON tenant, site, area, asset_class, asset, failure_mode, bom_item, failure_report, gateway, device,
    channel, reading, discrete_event, alarm_rule, app_user, membership TO forewarn_analytics;
GRANT SELECT, INSERT, UPDATE ON meter, meter_reading, maintenance_plan, plan_occurrence, model_version, feature,
    assessment, assessment_schedule, alarm, case_file, prediction, ticket, ticket_counter, ticket_task, failure_report
    TO forewarn_analytics;
GRANT SELECT, INSERT ON alarm_event, prediction_event, ticket_event, dispatch_decision TO forewarn_analytics;
GRANT INSERT, SELECT, DELETE ON outbox TO forewarn_analytics;
GRANT DELETE ON assessment_schedule, idempotency_key TO forewarn_analytics;
GRANT SELECT ON idempotency_key TO forewarn_analytics;

-- API: acts for people. No right at all on reading, feature, assessment, discrete_event.
GRANT SELECT ON tenant, app_user, membership, audit_event, gateway_cursor, ledger, sequence_gap, dead_letter,
    reading_conflict, model_version, prediction_event, alarm_event, ticket_event, dispatch_decision, outbox,
    meter_reading, cursor_ahead, assessment_schedule TO forewarn_api;
GRANT SELECT, INSERT, UPDATE ON site, area, api_key, asset_class, asset, failure_mode, bom_item, failure_report,
    gateway, gateway_credential, device, channel, meter, maintenance_plan, plan_occurrence, alarm_rule, alarm,
    case_file, prediction, ticket, ticket_counter, ticket_task, assessment_schedule TO forewarn_api;
GRANT DELETE ON bom_item, alarm_rule TO forewarn_api;
GRANT INSERT ON audit_event, alarm_event, prediction_event, ticket_event, dispatch_decision, outbox, meter_reading
    TO forewarn_api;
GRANT UPDATE ON dead_letter, meter_reading TO forewarn_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_key TO forewarn_api;
