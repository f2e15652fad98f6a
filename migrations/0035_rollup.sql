-- Rollups: what a channel did in an hour, and in a minute where there is enough to sum up.
--
-- They are exact at any moment, late data included, by three rules:
--
-- 1. Nothing at or after rollup_state.frontier has a row. The frontier is the end of the last full
--    hour that was declared over; live readings lie after it and cost the writer nothing.
-- 2. Whoever stores readings before the frontier writes the range into rollup_dirty in the same
--    transaction. Readers take dirty ranges from the readings themselves until the refresher has
--    been there. A reading and its mark are seen together or not at all.
-- 3. An hour has a row when it has at least nine readings, and minute rows when it has more than
--    240. What has no row is read from the readings: it is little by definition, and a channel that
--    speaks twice an hour needs no second copy of itself.
--
-- No continuous aggregates: the Apache edition has none.
--
-- No tenant_id, as in reading: the channel implies it, and the API reads through functions.

CREATE TABLE rollup_hour (
    bucket      timestamptz NOT NULL,           -- its start
    channel_id  integer NOT NULL,
    readings    integer NOT NULL,               -- of every quality
    good        integer NOT NULL,               -- quality 0; good / readings is the quality share
    n           integer NOT NULL,               -- not bad: what all the numbers below are made of
    low         double precision,               -- NULL from here on when n = 0
    high        double precision,
    total       double precision,               -- mean = total / n
    -- Integral of the value over [first_ts, last_ts], each value holding until the next: value × seconds.
    -- Two neighbours combine: area₁ + last₁ × (first_ts₂ − last_ts₁) + area₂.
    area        double precision,
    first_ts    timestamptz,
    first_value double precision,
    last_ts     timestamptz,
    last_value  double precision,
    minutes     boolean NOT NULL,               -- rollup_minute has the same hour
    PRIMARY KEY (channel_id, bucket)
);
SELECT create_hypertable('rollup_hour', by_range('bucket', INTERVAL '90 days'), create_default_indexes => false);

CREATE TABLE rollup_minute (
    bucket      timestamptz NOT NULL,
    channel_id  integer NOT NULL,
    readings    integer NOT NULL,
    good        integer NOT NULL,
    n           integer NOT NULL,
    low         double precision,
    high        double precision,
    total       double precision,
    area        double precision,
    first_ts    timestamptz,
    first_value double precision,
    last_ts     timestamptz,
    last_value  double precision,
    PRIMARY KEY (channel_id, bucket)
);
SELECT create_hypertable('rollup_minute', by_range('bucket', INTERVAL '7 days'), create_default_indexes => false);

CREATE TABLE rollup_state (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    frontier   timestamptz,                     -- NULL = nothing has been rolled up yet
    -- Readings before this are gone for every channel; their rollups are all there is and are not made anew.
    raw_from   timestamptz
);
INSERT INTO rollup_state DEFAULT VALUES;

-- Ranges [from_ts, to_ts) of whole hours. Rows are only added and removed, never changed by two: a
-- unique key would make a writer wait for the refresher.
CREATE TABLE rollup_dirty (
    channel_id integer NOT NULL,
    from_ts    timestamptz NOT NULL,
    to_ts      timestamptz NOT NULL CHECK (to_ts > from_ts),
    marked_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rollup_dirty_channel_idx ON rollup_dirty (channel_id, from_ts);
CREATE INDEX rollup_dirty_age_idx ON rollup_dirty (marked_at);

-- Readings of a channel before raw_from were removed by its tenant's policy.
CREATE TABLE channel_retained (
    channel_id integer PRIMARY KEY REFERENCES channel,
    raw_from   timestamptz NOT NULL
);

-- For a writer, after it has stored its readings: the frontier, which can't move before the caller's
-- transaction has ended. Each statement of a volatile function sees what was committed before it.
CREATE FUNCTION rollup_frontier() RETURNS timestamptz LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4665728372001);
    RETURN (SELECT frontier FROM rollup_state);
END
$$;

-- Declares all before `upto` (a full hour) over, and marks what it passes for the refresher. Waits for the writers
-- that looked at the old frontier. Returns whether it moved.
CREATE FUNCTION rollup_advance(upto timestamptz) RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
DECLARE
    old timestamptz;
BEGIN
    IF upto <> date_trunc('hour', upto, 'UTC') THEN
        RAISE EXCEPTION 'the frontier is a full hour, not %', upto USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(4665728372001);
    SELECT frontier INTO old FROM rollup_state FOR UPDATE;
    IF old >= upto THEN RETURN false; END IF;
    IF old IS NULL THEN
        INSERT INTO rollup_dirty (channel_id, from_ts, to_ts)
        SELECT c.id, date_trunc('hour', f.ts, 'UTC'), upto FROM channel c
        CROSS JOIN LATERAL (SELECT r.ts FROM reading r WHERE r.channel_id = c.id ORDER BY r.ts LIMIT 1) f
        WHERE f.ts < upto;
    ELSE
        INSERT INTO rollup_dirty (channel_id, from_ts, to_ts) SELECT c.id, old, upto FROM channel c;
    END IF;
    UPDATE rollup_state SET frontier = upto;
    RETURN true;
END
$$;

-- Readings are corrected by hand only; that marks them too.
CREATE FUNCTION rollup_mark_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF OLD.ts < rollup_frontier() THEN
        INSERT INTO rollup_dirty (channel_id, from_ts, to_ts)
        VALUES (OLD.channel_id, date_trunc('hour', OLD.ts, 'UTC'), date_trunc('hour', OLD.ts, 'UTC') + interval '1 hour');
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.ts < rollup_frontier() THEN
        INSERT INTO rollup_dirty (channel_id, from_ts, to_ts)
        VALUES (NEW.channel_id, date_trunc('hour', NEW.ts, 'UTC'), date_trunc('hour', NEW.ts, 'UTC') + interval '1 hour');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER rollup_mark AFTER UPDATE OR DELETE ON reading FOR EACH ROW
    WHEN (current_setting('forewarn.retention', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION rollup_mark_changed();

-- Makes the rollups of [from_ts, to_ts), whole hours, from the readings. `fewest`: readings from which an hour gets a
-- row. The caller holds the channel's lock (see models::db::history::refresh). Returns how many readings it read.
CREATE FUNCTION rollup_refresh(wanted integer, from_ts timestamptz, to_ts timestamptz, fewest integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
DECLARE
    seen bigint;
BEGIN
    DELETE FROM rollup_hour h WHERE h.channel_id = wanted AND h.bucket >= from_ts AND h.bucket < to_ts;
    DELETE FROM rollup_minute m WHERE m.channel_id = wanted AND m.bucket >= from_ts AND m.bucket < to_ts;
    WITH line AS (
        SELECT r.ts, r.value, r.quality, time_bucket('1 minute', r.ts) AS minute,
               lead(r.ts) OVER (PARTITION BY r.quality < 2 ORDER BY r.ts) AS next_ts
        FROM reading r WHERE r.channel_id = wanted AND r.ts >= from_ts AND r.ts < to_ts
    ), minute AS MATERIALIZED (
        SELECT l.minute AS bucket, time_bucket('1 hour', l.minute) AS hour, count(*) AS readings,
               count(*) FILTER (WHERE quality = 0) AS good, count(*) FILTER (WHERE quality < 2) AS n,
               min(value) FILTER (WHERE quality < 2) AS low, max(value) FILTER (WHERE quality < 2) AS high,
               sum(value) FILTER (WHERE quality < 2) AS total,
               coalesce(sum(value * date_part('epoch', next_ts - ts))
                        FILTER (WHERE quality < 2 AND next_ts < l.minute + interval '1 minute'), 0) AS area,
               min(ts) FILTER (WHERE quality < 2) AS first_ts, first(value, ts) FILTER (WHERE quality < 2) AS first_value,
               max(ts) FILTER (WHERE quality < 2) AS last_ts, last(value, ts) FILTER (WHERE quality < 2) AS last_value
        FROM line l GROUP BY l.minute
    ), chained AS (
        SELECT m.*, lead(m.first_ts) OVER (PARTITION BY m.hour, m.n > 0 ORDER BY m.bucket) AS next_first FROM minute m
    ), hour AS (
        SELECT c.hour AS bucket, sum(readings) AS readings, sum(good) AS good, sum(n) AS n, min(low) AS low, max(high) AS high,
               sum(total) AS total,
               sum(area) + coalesce(sum(last_value * date_part('epoch', next_first - last_ts)), 0) AS area,
               min(first_ts) AS first_ts, first(first_value, first_ts) FILTER (WHERE n > 0) AS first_value,
               max(last_ts) AS last_ts, last(last_value, last_ts) FILTER (WHERE n > 0) AS last_value
        FROM chained c GROUP BY c.hour
    ), hours AS (
        INSERT INTO rollup_hour (bucket, channel_id, readings, good, n, low, high, total, area, first_ts, first_value,
                                 last_ts, last_value, minutes)
        SELECT h.bucket, wanted, h.readings, h.good, h.n, h.low, h.high, h.total, h.area, h.first_ts, h.first_value,
               h.last_ts, h.last_value, h.readings > 240
        FROM hour h WHERE h.readings >= fewest
    ), minutes AS (
        INSERT INTO rollup_minute (bucket, channel_id, readings, good, n, low, high, total, area, first_ts, first_value,
                                   last_ts, last_value)
        SELECT m.bucket, wanted, m.readings, m.good, m.n, m.low, m.high, m.total, m.area, m.first_ts, m.first_value,
               m.last_ts, m.last_value
        FROM minute m JOIN hour h ON h.bucket = m.hour WHERE h.readings > 240
    )
    SELECT coalesce(sum(readings), 0) INTO seen FROM minute;
    RETURN seen;
END
$$;

-- Aggregates of a channel in [from_ts, to_ts), in buckets of `width` counted from `origin`: partial ones, in order of
-- time; several may share a bucket. level: raw, minute or hour, the finest rollup that may be used (a bucket must be
-- a multiple of it and start on it).
CREATE FUNCTION history_parts(wanted integer, from_ts timestamptz, to_ts timestamptz, width interval, origin timestamptz,
                              level text)
RETURNS TABLE (bucket timestamptz, readings bigint, good bigint, n bigint, low double precision, high double precision,
               total double precision, area double precision, first_ts timestamptz, first_value double precision,
               last_ts timestamptz, last_value double precision)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    hours_from timestamptz := date_trunc('hour', from_ts + interval '1 hour' - interval '1 microsecond', 'UTC');
    hours_to timestamptz := least(date_trunc('hour', to_ts, 'UTC'), (SELECT s.frontier FROM rollup_state s));
    -- Before this there are no readings any more: rollups are taken whatever the level.
    gone timestamptz := greatest((SELECT s.raw_from FROM rollup_state s),
                                 (SELECT x.raw_from FROM channel_retained x WHERE x.channel_id = wanted));
    present bigint := 0;
BEGIN
    IF (level <> 'raw' OR from_ts < gone) AND hours_from < hours_to THEN
        SELECT count(*) INTO present FROM rollup_hour h
        WHERE h.channel_id = wanted AND h.bucket >= hours_from AND h.bucket < hours_to
          AND (level = 'hour' OR (level = 'minute' AND h.minutes) OR h.bucket < gone);
    END IF;
    IF present = 0 THEN
        RETURN QUERY
        WITH line AS (
            SELECT r.ts, r.value, r.quality, time_bucket(width, r.ts, origin) AS b,
                   lead(r.ts) OVER (PARTITION BY r.quality < 2 ORDER BY r.ts) AS next_ts
            FROM reading r WHERE r.channel_id = wanted AND r.ts >= from_ts AND r.ts < to_ts
        )
        SELECT l.b, count(*), count(*) FILTER (WHERE quality = 0), count(*) FILTER (WHERE quality < 2),
               min(value) FILTER (WHERE quality < 2), max(value) FILTER (WHERE quality < 2),
               sum(value) FILTER (WHERE quality < 2),
               coalesce(sum(value * date_part('epoch', next_ts - ts))
                        FILTER (WHERE quality < 2 AND next_ts < l.b + width), 0),
               min(ts) FILTER (WHERE quality < 2), first(value, ts) FILTER (WHERE quality < 2),
               max(ts) FILTER (WHERE quality < 2), last(value, ts) FILTER (WHERE quality < 2)
        FROM line l GROUP BY l.b;
        RETURN;
    END IF;
    RETURN QUERY
    WITH usable AS MATERIALIZED (
        SELECT h.* FROM rollup_hour h
        WHERE h.channel_id = wanted AND h.bucket >= hours_from AND h.bucket < hours_to
          AND (level = 'hour' OR (level = 'minute' AND h.minutes) OR h.bucket < gone)
          AND (h.bucket < gone OR NOT EXISTS (
              SELECT FROM rollup_dirty d WHERE d.channel_id = wanted AND d.from_ts <= h.bucket AND d.to_ts > h.bucket))
    ), edge AS (
        SELECT u.bucket AS begins, u.bucket + interval '1 hour' AS ends FROM usable u
        UNION ALL SELECT to_ts, to_ts
    ), hole AS (
        SELECT coalesce(lag(e.ends) OVER (ORDER BY e.begins), from_ts) AS begins, e.begins AS ends FROM edge e
    ), line AS (
        SELECT o.begins AS hole, r.ts, r.value, r.quality, time_bucket(width, r.ts, origin) AS b,
               lead(r.ts) OVER (PARTITION BY o.begins, r.quality < 2 ORDER BY r.ts) AS next_ts
        FROM hole o CROSS JOIN LATERAL (
            SELECT x.ts, x.value, x.quality FROM reading x
            WHERE x.channel_id = wanted AND x.ts >= o.begins AND x.ts < o.ends) r
        WHERE o.begins < o.ends
    )
    SELECT l.b, count(*), count(*) FILTER (WHERE l.quality = 0), count(*) FILTER (WHERE l.quality < 2),
           min(l.value) FILTER (WHERE l.quality < 2), max(l.value) FILTER (WHERE l.quality < 2),
           sum(l.value) FILTER (WHERE l.quality < 2),
           coalesce(sum(l.value * date_part('epoch', l.next_ts - l.ts))
                    FILTER (WHERE l.quality < 2 AND l.next_ts < l.b + width), 0),
           min(l.ts) FILTER (WHERE l.quality < 2), first(l.value, l.ts) FILTER (WHERE l.quality < 2),
           max(l.ts) FILTER (WHERE l.quality < 2), last(l.value, l.ts) FILTER (WHERE l.quality < 2)
    FROM line l GROUP BY l.hole, l.b
    UNION ALL
    SELECT time_bucket(width, u.bucket, origin), u.readings, u.good, u.n, u.low, u.high, u.total, u.area, u.first_ts,
           u.first_value, u.last_ts, u.last_value
    FROM usable u WHERE level = 'hour' OR NOT u.minutes
    UNION ALL
    SELECT time_bucket(width, m.bucket, origin), m.readings, m.good, m.n, m.low, m.high, m.total, m.area, m.first_ts,
           m.first_value, m.last_ts, m.last_value
    FROM usable u JOIN rollup_minute m ON m.channel_id = wanted AND m.bucket >= u.bucket AND m.bucket < u.bucket + interval '1 hour'
    WHERE level <> 'hour' AND m.bucket >= hours_from AND m.bucket < hours_to;
END
$$;

-- ---- The API's doors ---------------------------------------------------------------------------

-- Which of these channels the caller may read. One look for all of them.
CREATE FUNCTION own_channels(wanted integer[]) RETURNS TABLE (id integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.id FROM channel c
    WHERE c.id = ANY (wanted) AND c.tenant_id = (SELECT current_tenant())
      AND ((SELECT current_site()) IS NULL OR EXISTS (
          SELECT FROM device d JOIN gateway g ON g.id = d.gateway_id
          WHERE d.id = c.device_id AND g.site_id = (SELECT current_site())))
$$;

-- One row for each channel and bucket that has a reading; buckets in order within a channel.
CREATE FUNCTION history_stats(wanted integer[], from_ts timestamptz, to_ts timestamptz, width interval, origin timestamptz,
                              level text)
RETURNS TABLE (channel_id integer, ts timestamptz, readings bigint, good bigint, n bigint, low double precision,
               high double precision, mean double precision, time_mean double precision, first_ts timestamptz,
               first_value double precision, last_ts timestamptz, last_value double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH part AS (
        SELECT o.id, p.*,
               lead(p.first_ts) OVER (PARTITION BY o.id, p.bucket, p.n > 0 ORDER BY p.first_ts) AS next_first
        FROM own_channels(wanted) o
        CROSS JOIN LATERAL history_parts(o.id, from_ts, to_ts, width, origin, level) p
    ), whole AS (
        SELECT id, bucket, sum(readings)::bigint AS readings, sum(good)::bigint AS good, sum(n)::bigint AS n,
               min(low) AS low, max(high) AS high, sum(total) AS total,
               sum(area) + coalesce(sum(last_value * date_part('epoch', next_first - last_ts)), 0) AS area,
               min(first_ts) AS first_ts, first(first_value, first_ts) FILTER (WHERE n > 0) AS first_value,
               max(last_ts) AS last_ts, last(last_value, last_ts) FILTER (WHERE n > 0) AS last_value
        FROM part GROUP BY id, bucket
    )
    SELECT id, bucket, readings, good, n, low, high, total / nullif(n, 0),
           CASE WHEN last_ts > first_ts THEN area / date_part('epoch', last_ts - first_ts) ELSE total / nullif(n, 0) END,
           first_ts, first_value, last_ts, last_value
    FROM whole ORDER BY id, bucket
$$;

-- Readings of several channels, channel by channel, oldest first, of every quality.
CREATE FUNCTION history_many(wanted integer[], from_ts timestamptz, to_ts timestamptz, most bigint)
RETURNS TABLE (channel_id integer, ts timestamptz, value double precision, quality smallint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT o.id, r.ts, r.value, r.quality
    FROM (SELECT id FROM own_channels(wanted) ORDER BY id) o
    CROSS JOIN LATERAL (SELECT x.ts, x.value, x.quality FROM reading x
                        WHERE x.channel_id = o.id AND x.ts >= from_ts AND x.ts < to_ts ORDER BY x.ts) r
    LIMIT most
$$;

-- What each channel showed at each of these moments: its newest reading in (moment − within, moment] that is not bad.
-- Channels and moments without one are absent.
CREATE FUNCTION history_at(wanted integer[], moments timestamptz[], within interval)
RETURNS TABLE (channel_id integer, moment timestamptz, ts timestamptz, value double precision, quality smallint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT o.id, m.moment, r.ts, r.value, r.quality
    FROM own_channels(wanted) o CROSS JOIN unnest(moments) AS m (moment)
    CROSS JOIN LATERAL (SELECT x.ts, x.value, x.quality FROM reading x
                        WHERE x.channel_id = o.id AND x.ts <= m.moment AND x.ts > m.moment - within AND x.quality < 2
                        ORDER BY x.ts DESC LIMIT 1) r
    ORDER BY o.id, m.moment
$$;

-- As before, with the tenant compared once and not for each channel.
CREATE OR REPLACE FUNCTION latest_readings(wanted integer[])
RETURNS TABLE (channel_id integer, ts timestamptz, value double precision, quality smallint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT o.id, r.ts, r.value, r.quality
    FROM own_channels(wanted) o
    CROSS JOIN LATERAL (SELECT x.ts, x.value, x.quality FROM reading x
                        WHERE x.channel_id = o.id ORDER BY x.ts DESC LIMIT 1) r
$$;

REVOKE EXECUTE ON FUNCTION rollup_frontier(), rollup_advance(timestamptz), rollup_mark_changed(),
    rollup_refresh(integer, timestamptz, timestamptz, integer),
    history_parts(integer, timestamptz, timestamptz, interval, timestamptz, text), own_channels(integer[]),
    history_stats(integer[], timestamptz, timestamptz, interval, timestamptz, text),
    history_many(integer[], timestamptz, timestamptz, bigint), history_at(integer[], timestamptz[], interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION history_stats(integer[], timestamptz, timestamptz, interval, timestamptz, text),
    history_many(integer[], timestamptz, timestamptz, bigint), history_at(integer[], timestamptz[], interval)
    TO forewarn_api;
GRANT EXECUTE ON FUNCTION rollup_frontier() TO forewarn_ingest, forewarn_analytics;
GRANT EXECUTE ON FUNCTION rollup_advance(timestamptz), rollup_refresh(integer, timestamptz, timestamptz, integer)
    TO forewarn_analytics;
GRANT SELECT ON rollup_state TO forewarn_ingest, forewarn_analytics;
GRANT INSERT ON rollup_dirty TO forewarn_ingest;
GRANT UPDATE ON rollup_state TO forewarn_analytics;
GRANT SELECT, INSERT, DELETE ON rollup_dirty TO forewarn_analytics;
GRANT SELECT, INSERT, DELETE ON rollup_hour, rollup_minute TO forewarn_analytics;
GRANT SELECT ON channel_retained TO forewarn_analytics;
