-- What gateways of other systems send, and what is known of it.

-- Which codec reads which topic of a gateway, and what the parts of its JSON are called
-- (models::mapping). No row = the standard topics of every protocol.
CREATE TABLE gateway_mapping (
    gateway_id  uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    mapping     jsonb NOT NULL CHECK (jsonb_typeof(mapping) = 'object'),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    updated_by  text NOT NULL,
    FOREIGN KEY (tenant_id, gateway_id) REFERENCES gateway (tenant_id, id)
);
CALL protect_tenant_tables();
CREATE POLICY site_only ON gateway_mapping AS RESTRICTIVE TO forewarn_api
    USING ((SELECT current_site()) IS NULL OR gateway_id IN (SELECT id FROM gateway));
GRANT SELECT ON gateway_mapping TO forewarn_ingest;
GRANT SELECT, INSERT, UPDATE ON gateway_mapping TO forewarn_api;

-- A gateway may say that a thing behind it is away (Sparkplug's deaths, ThingsBoard's disconnect):
-- what is stored of it is then stale since that moment. NULL = live, or nobody says such things.
ALTER TABLE device ADD COLUMN stale_since timestamptz;
GRANT UPDATE (stale_since) ON device TO forewarn_ingest;

-- What was sent where it was converted: `reading` holds the value in the channel's unit, this the
-- value and unit that came. Only readings whose unit differed from the channel's have a row. Like
-- `reading` it has no tenant_id; the API reads it through the function below.
CREATE TABLE reading_sent (
    ts          timestamptz NOT NULL,
    value       double precision NOT NULL,
    channel_id  integer NOT NULL,
    unit        text NOT NULL,
    PRIMARY KEY (channel_id, ts)
);
SELECT create_hypertable('reading_sent', by_range('ts', INTERVAL '7 days'), create_default_indexes => false);
GRANT SELECT, INSERT ON reading_sent TO forewarn_ingest;

-- Readings as they were sent: where nothing was converted, value and unit are the channel's own.
CREATE FUNCTION history_sent(wanted integer, from_ts timestamptz, to_ts timestamptz, most integer)
RETURNS TABLE (ts timestamptz, value double precision, unit text, stored double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT own_channel(wanted) THEN RETURN; END IF;
    RETURN QUERY
        SELECT r.ts, coalesce(s.value, r.value), coalesce(s.unit, c.unit), r.value
        FROM reading r
        JOIN channel c ON c.id = r.channel_id
        LEFT JOIN reading_sent s ON s.channel_id = r.channel_id AND s.ts = r.ts
        WHERE r.channel_id = wanted AND r.ts >= from_ts AND r.ts < to_ts
        ORDER BY r.ts LIMIT most;
END
$$;
REVOKE ALL ON FUNCTION history_sent FROM PUBLIC;
GRANT EXECUTE ON FUNCTION history_sent TO forewarn_api;
