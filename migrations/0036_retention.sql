-- How long what is kept, per tenant and class of channel (measurement, state, counter, setting).
--
-- Readings that go leave their rollups behind: before they are removed every hour gets a row, sparse
-- ones too. The work is done by analytics, on every edition of TimescaleDB: chunks that nobody needs
-- any more are dropped whole, what a tenant wants gone earlier is deleted by channel.

CREATE TABLE retention_policy (
    tenant_id   uuid NOT NULL REFERENCES tenant,
    kind        channel_kind,                           -- NULL = every class without a row of its own
    raw_days    integer CHECK (raw_days > 0),           -- NULL = for ever, in all three
    minute_days integer CHECK (minute_days > 0),
    hour_days   integer CHECK (hour_days > 0),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (tenant_id, kind),
    -- A rollup that goes before its readings would have to be made anew.
    CHECK (coalesce(minute_days >= raw_days, true) AND coalesce(hour_days >= raw_days, true)),
    CHECK (raw_days IS NOT NULL OR (minute_days IS NULL AND hour_days IS NULL))
);
CALL protect_tenant_tables();
CREATE POLICY site_only ON retention_policy AS RESTRICTIVE TO forewarn_api USING ((SELECT current_site()) IS NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON retention_policy TO forewarn_api;
GRANT SELECT ON retention_policy TO forewarn_analytics;

-- Removes a channel's readings before `before`. Their hours have rollups by now.
CREATE FUNCTION retention_delete_raw(wanted integer, before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    PERFORM set_config('forewarn.retention', 'on', true);   -- nothing to roll up anew
    DELETE FROM reading r WHERE r.channel_id = wanted AND r.ts < before;
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('forewarn.retention', 'off', true);
    INSERT INTO channel_retained (channel_id, raw_from) VALUES (wanted, before)
    ON CONFLICT (channel_id) DO UPDATE SET raw_from = greatest(channel_retained.raw_from, excluded.raw_from);
    RETURN gone;
END
$$;

-- Drops the chunks of readings that end at or before `before`. Returns how many there were.
CREATE FUNCTION retention_drop_raw(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    SELECT count(*) INTO gone FROM drop_chunks('reading', older_than => before);
    UPDATE rollup_state SET raw_from = greatest(raw_from, before);
    RETURN gone;
END
$$;

-- Removes a channel's rollups before these moments (NULL = none).
CREATE FUNCTION retention_delete_rollups(wanted integer, minutes_before timestamptz, hours_before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM rollup_minute m WHERE m.channel_id = wanted AND m.bucket < minutes_before;
    GET DIAGNOSTICS gone = ROW_COUNT;
    UPDATE rollup_hour h SET minutes = false WHERE h.channel_id = wanted AND h.bucket < minutes_before AND h.minutes;
    DELETE FROM rollup_hour h WHERE h.channel_id = wanted AND h.bucket < hours_before;
    RETURN gone;
END
$$;

-- Chunks of readings with their ends, oldest first.
CREATE FUNCTION retention_chunks() RETURNS TABLE (chunk text, begins timestamptz, ends timestamptz, compressed boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT format('%I.%I', c.chunk_schema, c.chunk_name), c.range_start, c.range_end, coalesce(c.is_compressed, false)
    FROM timescaledb_information.chunks c
    WHERE c.hypertable_schema = 'public' AND c.hypertable_name = 'reading' ORDER BY c.range_start
$$;

-- Whether this edition can compress.
CREATE FUNCTION retention_can_compress() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT current_setting('timescaledb.license', true) = 'timescale'
$$;

-- Compresses one chunk of readings, column by column, a segment for each channel. A later reading
-- still gets in: TimescaleDB keeps it beside the segments until the chunk is compressed again.
-- The statements are text because the Apache edition doesn't know them.
CREATE FUNCTION retention_compress(wanted text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM retention_chunks() c WHERE c.chunk = wanted) THEN
        RAISE EXCEPTION '% is no chunk of readings', wanted USING ERRCODE = 'undefined_table';
    END IF;
    IF NOT EXISTS (SELECT FROM timescaledb_information.hypertables h
                   WHERE h.hypertable_schema = 'public' AND h.hypertable_name = 'reading' AND h.compression_enabled) THEN
        EXECUTE $sql$ALTER TABLE reading SET (timescaledb.compress, timescaledb.compress_segmentby = 'channel_id',
                                               timescaledb.compress_orderby = 'ts')$sql$;
    END IF;
    EXECUTE format('SELECT compress_chunk(%L::regclass, if_not_compressed => true)', wanted);
END
$$;

REVOKE EXECUTE ON FUNCTION retention_delete_raw(integer, timestamptz), retention_drop_raw(timestamptz),
    retention_delete_rollups(integer, timestamptz, timestamptz), retention_chunks(), retention_can_compress(),
    retention_compress(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retention_delete_raw(integer, timestamptz), retention_drop_raw(timestamptz),
    retention_delete_rollups(integer, timestamptz, timestamptz), retention_chunks(), retention_can_compress(),
    retention_compress(text) TO forewarn_analytics;
