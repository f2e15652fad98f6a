-- What was stored, changed or removed for a time that had been declared over (before rollup_state.frontier), for
-- processes that remember windows of readings: they ask what became visible since they last asked, and count nothing.
--
-- rollup_dirty can't say it: the refresher works its rows off. Here rows are only added, and go after a day; a process
-- that asks more rarely than that forgets what it remembers. By transaction, not by time: a row is new to whoever has
-- not seen the transaction that wrote it, however long that took.
CREATE TABLE reading_late (
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    channel_id integer NOT NULL,
    from_ts    timestamptz NOT NULL,            -- nothing before this moment changed
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reading_late_xid_idx ON reading_late (xid);
CREATE INDEX reading_late_age_idx ON reading_late (at);

-- Readings are corrected by hand only; that marks their rollups and is told, however young they are: a count of what is
-- not yet over doesn't see another value.
CREATE OR REPLACE FUNCTION rollup_mark_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO reading_late (channel_id, from_ts) VALUES (OLD.channel_id, OLD.ts);
    IF OLD.ts < rollup_frontier() THEN
        INSERT INTO rollup_dirty (channel_id, from_ts, to_ts)
        VALUES (OLD.channel_id, date_trunc('hour', OLD.ts, 'UTC'), date_trunc('hour', OLD.ts, 'UTC') + interval '1 hour');
    END IF;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO reading_late (channel_id, from_ts) VALUES (NEW.channel_id, NEW.ts);
        IF NEW.ts < rollup_frontier() THEN
            INSERT INTO rollup_dirty (channel_id, from_ts, to_ts)
            VALUES (NEW.channel_id, date_trunc('hour', NEW.ts, 'UTC'), date_trunc('hour', NEW.ts, 'UTC') + interval '1 hour');
        END IF;
    END IF;
    RETURN NULL;
END
$$;

-- As before; a process that remembers what is removed here reads again what is left.
CREATE OR REPLACE FUNCTION retention_delete_raw(wanted integer, before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first timestamptz;
    gone bigint;
BEGIN
    SELECT min(r.ts) INTO first FROM reading r WHERE r.channel_id = wanted AND r.ts < before;
    PERFORM set_config('forewarn.retention', 'on', true);   -- nothing to roll up anew
    DELETE FROM reading r WHERE r.channel_id = wanted AND r.ts < before;
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('forewarn.retention', 'off', true);
    INSERT INTO channel_retained (channel_id, raw_from) VALUES (wanted, before)
    ON CONFLICT (channel_id) DO UPDATE SET raw_from = greatest(channel_retained.raw_from, excluded.raw_from);
    INSERT INTO reading_late (channel_id, from_ts) SELECT wanted, first WHERE first IS NOT NULL;
    RETURN gone;
END
$$;

CREATE OR REPLACE FUNCTION retention_drop_raw(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    SELECT count(*) INTO gone FROM drop_chunks('reading', older_than => before);
    UPDATE rollup_state SET raw_from = greatest(raw_from, before);
    INSERT INTO reading_late (channel_id, from_ts) SELECT c.id, '-infinity' FROM channel c WHERE gone > 0;
    RETURN gone;
END
$$;

GRANT INSERT ON reading_late TO forewarn_ingest;
GRANT SELECT, INSERT, DELETE ON reading_late TO forewarn_analytics;
