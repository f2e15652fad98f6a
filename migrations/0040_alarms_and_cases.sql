-- What alarms and cases remember of the people who should have heard of them.

-- Levels of escalation that have been told (0 = the first), and when an alarm was last told or
-- acknowledged: from there the patience of models::alarm::escalation counts.
ALTER TABLE alarm ADD COLUMN escalation_level integer NOT NULL DEFAULT 0 CHECK (escalation_level >= 0);
ALTER TABLE alarm ADD COLUMN told_at timestamptz;
-- What the dispatcher looks through for suppression and escalation.
CREATE INDEX alarm_raised_idx ON alarm (active_at) WHERE condition <> 'inactive' AND active_at IS NOT NULL;

-- Grouping: when the case was last told of (models::case::notice), and the last news about it.
ALTER TABLE case_file ADD COLUMN notified_at timestamptz;
ALTER TABLE case_file ADD COLUMN news_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX case_file_merged_idx ON case_file (asset_id) WHERE merged_into IS NOT NULL;

-- A case's own history: opened, joined, merged, split, closed.
CREATE TABLE case_event (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenant,
    case_id   uuid NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    kind      text NOT NULL,
    actor     text NOT NULL,
    detail    jsonb NOT NULL DEFAULT '{}',
    FOREIGN KEY (tenant_id, case_id) REFERENCES case_file (tenant_id, id)
);
CREATE INDEX case_event_case_idx ON case_event (case_id, id);
CALL protect_tenant_tables();
CREATE POLICY site_only ON case_event AS RESTRICTIVE TO forewarn_api
    USING ((SELECT current_site()) IS NULL OR case_id IN (SELECT id FROM case_file));
GRANT SELECT, INSERT ON case_event TO forewarn_analytics, forewarn_api;

-- A gateway that is silent explains the silence of its channels: the dispatcher asks when it was
-- last heard.
GRANT SELECT ON ledger TO forewarn_analytics;
-- Merging moves the reasons of dispatch with their case.
GRANT UPDATE (case_id) ON dispatch_decision TO forewarn_api;

-- Events below this transaction id can't be overtaken any more: whoever could still write an older one
-- has ended. Transaction ids belong to the whole cluster, and the horizon of a snapshot therefore waits
-- for the long transactions of other databases as well, which write nothing here. So: the end of the
-- snapshot first, then the oldest transaction of this database that has an id (an id is visible in the
-- activity before a later one can complete). What has ended by then is seen by the NEXT statement; the
-- caller must read the outbox in a statement of its own after this one. Where the activity of others is
-- hidden from the schema's owner, and in isolation levels that keep their snapshot, the cluster-wide
-- horizon is the answer.
CREATE FUNCTION outbox_horizon() RETURNS xid8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    top bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    oldest bigint;
    hidden boolean;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN pg_snapshot_xmin(pg_current_snapshot());
    END IF;
    -- 32-bit ids, made whole by their distance from the snapshot's end.
    SELECT min(top + ((x.id - top % 4294967296 + 6442450944) % 4294967296) - 2147483648),
           coalesce(bool_or(x.hidden), false)
      INTO oldest, hidden
      FROM (SELECT backend_xid::text::bigint AS id, query = '<insufficient privilege>' AS hidden
              FROM pg_stat_activity WHERE datname = current_database()
            UNION ALL
            SELECT transaction::text::bigint, false FROM pg_prepared_xacts WHERE database = current_database()) x;
    IF hidden THEN
        RETURN pg_snapshot_xmin(pg_current_snapshot());
    END IF;
    RETURN least(top, coalesce(oldest, top))::text::xid8;
END
$$;
REVOKE EXECUTE ON FUNCTION outbox_horizon() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox_horizon() TO forewarn_ingest, forewarn_analytics, forewarn_api;
