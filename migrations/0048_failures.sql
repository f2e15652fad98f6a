-- What failed, why, and how long it stood still.

-- A tenant's own words beside the built-in ones (models::coding). Same level and code = it replaces
-- the built-in one; enabled = false hides it.
CREATE TABLE failure_code (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    level       text NOT NULL CHECK (level IN ('mode', 'mechanism', 'cause', 'remedy', 'detection')),
    class_name  text,                            -- NULL = every class
    parent      text,                            -- code of the level above that it belongs to
    code        text NOT NULL CHECK (code ~ '^[a-z][a-z0-9_]{1,62}$'),
    name        text NOT NULL,
    enabled     boolean NOT NULL DEFAULT true,
    UNIQUE NULLS NOT DISTINCT (tenant_id, level, class_name, code)
);

ALTER TABLE ticket
    ADD COLUMN mechanism_code text,
    ADD COLUMN cause_code     text,
    ADD COLUMN remedy_code    text,
    ADD COLUMN detection_code text;
ALTER TABLE failure_report
    ADD COLUMN ticket_id      uuid,
    ADD COLUMN mechanism_code text,
    ADD COLUMN cause_code     text,
    ADD COLUMN remedy_code    text,
    ADD COLUMN reported_by    text,
    ADD FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id);

CREATE TYPE downtime_reason AS ENUM ('equipment_failure', 'material_shortage', 'setup_changeover', 'quality_hold',
    'maintenance', 'power_outage', 'other');
CREATE TYPE downtime_source AS ENUM ('alarm', 'status', 'person');

-- When an asset stood still: [started_at, ended_at). A signal opens it, a person says why.
CREATE TABLE downtime (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id    uuid NOT NULL REFERENCES tenant,
    asset_id     uuid NOT NULL,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    source       downtime_source NOT NULL,
    signal       text,                           -- alm_… when an alarm opened it
    ticket_id    uuid,
    reason       downtime_reason,                -- NULL = nobody has confirmed it
    note         text,
    confirmed_by text,
    confirmed_at timestamptz,
    voided       boolean NOT NULL DEFAULT false, -- it never stood still; kept for the record
    row_version  integer NOT NULL DEFAULT 1,
    CONSTRAINT downtime_runs_forward CHECK (ended_at IS NULL OR started_at <= ended_at),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id)
);
-- One signal opens one interval at a time.
CREATE UNIQUE INDEX downtime_open_key ON downtime (asset_id, source, signal) NULLS NOT DISTINCT
    WHERE ended_at IS NULL AND NOT voided;
CREATE INDEX downtime_asset_idx ON downtime (tenant_id, asset_id, started_at DESC);

-- Rules whose alarm says that the asset stands still.
CREATE TABLE downtime_signal (
    rule_id   uuid PRIMARY KEY REFERENCES alarm_rule ON DELETE CASCADE,
    tenant_id uuid NOT NULL REFERENCES tenant
);

-- In the transaction that moves the alarm. Event time, so that a late reading makes no longer stop.
CREATE FUNCTION downtime_of_alarm() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM downtime_signal s WHERE s.rule_id = NEW.rule_id) THEN
        RETURN NULL;
    END IF;
    IF NEW.condition IN ('active', 'clearing') THEN
        INSERT INTO downtime (tenant_id, asset_id, started_at, source, signal)
        VALUES (NEW.tenant_id, NEW.asset_id, coalesce(NEW.active_at, NEW.pending_since), 'alarm', NEW.id::text)
        ON CONFLICT DO NOTHING;
    ELSIF NEW.condition = 'inactive' THEN
        UPDATE downtime SET ended_at = greatest(started_at, coalesce(NEW.cleared_at, now())), row_version = row_version + 1
        WHERE asset_id = NEW.asset_id AND source = 'alarm' AND signal = NEW.id::text AND ended_at IS NULL;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION downtime_of_alarm() FROM PUBLIC;
CREATE TRIGGER downtime_of_alarm AFTER INSERT OR UPDATE OF condition ON alarm
    FOR EACH ROW EXECUTE FUNCTION downtime_of_alarm();

CREATE FUNCTION downtime_of_status() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.status = 'down' THEN
        INSERT INTO downtime (tenant_id, asset_id, started_at, source) VALUES (NEW.tenant_id, NEW.id, now(), 'status')
        ON CONFLICT DO NOTHING;
    ELSE
        UPDATE downtime SET ended_at = greatest(started_at, now()), row_version = row_version + 1
        WHERE asset_id = NEW.id AND source = 'status' AND ended_at IS NULL;
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION downtime_of_status() FROM PUBLIC;
CREATE TRIGGER downtime_of_status AFTER UPDATE OF status ON asset
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION downtime_of_status();

CALL protect_tenant_tables();
CREATE POLICY site_only ON downtime AS RESTRICTIVE TO forewarn_api
    USING ((SELECT current_site()) IS NULL OR asset_id IN (SELECT id FROM asset));
CREATE POLICY site_only ON downtime_signal AS RESTRICTIVE TO forewarn_api
    USING ((SELECT current_site()) IS NULL OR rule_id IN (SELECT id FROM alarm_rule));

GRANT SELECT ON failure_code, downtime, downtime_signal TO forewarn_api, forewarn_analytics;
GRANT INSERT, UPDATE ON failure_code, downtime TO forewarn_api;
GRANT INSERT, DELETE ON downtime_signal TO forewarn_api;
