-- Dead letters that can be mended, and holes that only a channel's cadence shows.

-- fix: what a person says was wrong (models::dead_letter::Fix), applied when the letter is tried again.
-- replay_requested_at: somebody asks ingest to try again; ingest answers by replayed_at, or by
-- replay_failed_at and replay_error, and takes the request away.
ALTER TABLE dead_letter
    ADD COLUMN fix                 jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN replay_requested_at timestamptz,
    ADD COLUMN replay_failed_at    timestamptz,
    ADD COLUMN replay_error        text;
CREATE INDEX dead_letter_requested_idx ON dead_letter (replay_requested_at)
    WHERE replay_requested_at IS NOT NULL AND replayed_at IS NULL AND discarded_at IS NULL;
-- The ledger shows how many of a day's rejected readings still wait here.
CREATE INDEX dead_letter_day_idx ON dead_letter (gateway_id, received_at)
    WHERE replayed_at IS NULL AND discarded_at IS NULL;

-- Times at which a channel with an expected cadence said nothing for longer than `factor` times its
-- cadence. Computed from the readings themselves, so a late reading closes its hole.
--
-- Where it was lost:
--   refused        dead letters of that time name the channel
--   channel        its device delivered other channels meanwhile
--   device         the gateway delivered other devices meanwhile
--   gateway_spool  the gateway gave batches up before they were committed
--   link           batches of the gateway are missing and may still come
--   gateway        nothing of the gateway, and no hole in its sequence: it was off, or heard nothing
CREATE FUNCTION cadence_gaps(wanted_gateway uuid, wanted_channel integer, from_ts timestamptz, to_ts timestamptz,
                             factor double precision, most integer)
RETURNS TABLE (gateway_id uuid, gateway_slug text, channel_id integer, device text, channel text,
               cadence_s double precision, after_ts timestamptz, before_ts timestamptz, missing bigint, place text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM current_tenant(); -- without one, an error even where there are no channels
    RETURN QUERY
    WITH hole AS MATERIALIZED (
        SELECT g.id AS gateway, g.slug, c.id AS channel, c.name, c.cadence_s AS cadence, d.id AS device,
               d.name AS device_name, r.ts AS after_at, r.next_ts AS before_at,
               coalesce(r.next_ts, now()) AS until_at
        FROM channel c
        JOIN device d ON d.id = c.device_id
        JOIN gateway g ON g.id = d.gateway_id
        CROSS JOIN LATERAL (
            SELECT s.ts, lead(s.ts) OVER (ORDER BY s.ts) AS next_ts
            FROM ((SELECT x.ts FROM reading x WHERE x.channel_id = c.id AND x.ts < from_ts ORDER BY x.ts DESC LIMIT 1)
                  UNION ALL
                  SELECT x.ts FROM reading x WHERE x.channel_id = c.id AND x.ts >= from_ts AND x.ts < to_ts
                  UNION ALL
                  (SELECT x.ts FROM reading x WHERE x.channel_id = c.id AND x.ts >= to_ts ORDER BY x.ts LIMIT 1)) s
        ) r
        WHERE c.tenant_id = current_tenant()
          AND (current_site() IS NULL OR g.site_id = current_site())
          AND c.cadence_s IS NOT NULL
          AND (wanted_gateway IS NULL OR g.id = wanted_gateway)
          AND (wanted_channel IS NULL OR c.id = wanted_channel)
          AND r.ts < to_ts
          AND extract(epoch FROM coalesce(r.next_ts, now()) - r.ts) > factor * c.cadence_s
        ORDER BY r.ts DESC, c.id
        LIMIT most
    )
    SELECT h.gateway, h.slug, h.channel, h.device_name, h.name, h.cadence, h.after_at, h.before_at,
           greatest(1, round(extract(epoch FROM h.until_at - h.after_at) / h.cadence)::int8 - 1),
           CASE
               WHEN EXISTS (SELECT FROM dead_letter l
                            WHERE l.gateway_id = h.gateway AND l.replayed_at IS NULL
                              AND l.received_at BETWEEN h.after_at AND h.until_at + interval '1 hour'
                              AND position(convert_to(h.name, 'UTF8') IN l.payload) > 0) THEN 'refused'
               WHEN EXISTS (SELECT FROM channel o JOIN reading x ON x.channel_id = o.id
                            WHERE o.device_id = h.device AND o.id <> h.channel
                              AND x.ts > h.after_at AND x.ts < h.until_at) THEN 'channel'
               WHEN EXISTS (SELECT FROM device e JOIN channel o ON o.device_id = e.id JOIN reading x ON x.channel_id = o.id
                            WHERE e.gateway_id = h.gateway AND e.id <> h.device
                              AND x.ts > h.after_at AND x.ts < h.until_at) THEN 'device'
               WHEN EXISTS (SELECT FROM sequence_gap s
                            WHERE s.gateway_id = h.gateway AND s.lost_at >= h.after_at) THEN 'gateway_spool'
               WHEN EXISTS (SELECT FROM sequence_gap s
                            WHERE s.gateway_id = h.gateway AND s.closed_at IS NULL AND s.lost_at IS NULL
                              AND s.seen_at >= h.after_at) THEN 'link'
               ELSE 'gateway'
           END
    FROM hole h
    ORDER BY h.after_at DESC, h.channel;
END
$$;
REVOKE EXECUTE ON FUNCTION cadence_gaps(uuid, integer, timestamptz, timestamptz, double precision, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cadence_gaps(uuid, integer, timestamptz, timestamptz, double precision, integer)
    TO forewarn_api;
