-- The API's doors to what row-level security can't guard.
--
-- All run with the owner's rights (SECURITY DEFINER) and compare tenant and site themselves, by
-- current_tenant() and current_site(), before they touch a hypertable.

-- ---- Sign-in: before a tenant is known ------------------------------------------------------

CREATE FUNCTION auth_user_by_email(wanted text)
RETURNS TABLE (id uuid, name text, password_hash text, failed_signins integer, locked_until timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT u.id, u.name, u.password_hash, u.failed_signins, u.locked_until
    FROM app_user u WHERE lower(u.email) = lower(wanted)
$$;

-- Five failures lock the account for 15 minutes; when they are over, counting starts again.
CREATE FUNCTION auth_record_signin(wanted uuid, good boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE app_user SET
        failed_signins = CASE WHEN good THEN 0 WHEN locked_until <= now() THEN 1 ELSE failed_signins + 1 END,
        locked_until = CASE WHEN NOT good AND failed_signins >= 4 AND (locked_until IS NULL OR locked_until > now())
                            THEN now() + interval '15 minutes' END
    WHERE id = wanted
$$;

CREATE FUNCTION auth_memberships(wanted uuid)
RETURNS TABLE (tenant_id uuid, tenant_slug text, tenant_name text, role member_role, site_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT m.tenant_id, t.slug, t.name, m.role, m.site_id
    FROM membership m JOIN tenant t ON t.id = m.tenant_id
    WHERE m.user_id = wanted ORDER BY t.slug
$$;

CREATE FUNCTION auth_api_key(wanted bytea)
RETURNS TABLE (id uuid, tenant_id uuid, scopes text[])
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE api_key k SET last_used_at = now()
    WHERE k.secret_hash = wanted AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
      AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute');
    SELECT k.id, k.tenant_id, k.scopes FROM api_key k
    WHERE k.secret_hash = wanted AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
$$;

-- ---- History --------------------------------------------------------------------------------

CREATE FUNCTION own_channel(wanted integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM channel c JOIN device d ON d.id = c.device_id JOIN gateway g ON g.id = d.gateway_id
                   WHERE c.id = wanted AND c.tenant_id = current_tenant()
                     AND (current_site() IS NULL OR g.site_id = current_site()))
$$;

CREATE FUNCTION own_asset(wanted uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM asset a WHERE a.id = wanted AND a.tenant_id = current_tenant()
                     AND (current_site() IS NULL OR a.site_id = current_site()))
$$;

CREATE FUNCTION history_raw(wanted integer, from_ts timestamptz, to_ts timestamptz, most integer)
RETURNS TABLE (ts timestamptz, value double precision, quality smallint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT own_channel(wanted) THEN RETURN; END IF;
    RETURN QUERY
        SELECT r.ts, r.value, r.quality FROM reading r
        WHERE r.channel_id = wanted AND r.ts >= from_ts AND r.ts < to_ts
        ORDER BY r.ts LIMIT most;
END
$$;

CREATE FUNCTION history_buckets(wanted integer, from_ts timestamptz, to_ts timestamptz, width interval)
RETURNS TABLE (ts timestamptz, n bigint, low double precision, high double precision, mean double precision,
               last double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT own_channel(wanted) THEN RETURN; END IF;
    RETURN QUERY
        SELECT time_bucket(width, r.ts, from_ts) AS bucket, count(*), min(r.value), max(r.value), avg(r.value),
               last(r.value, r.ts)
        FROM reading r
        WHERE r.channel_id = wanted AND r.ts >= from_ts AND r.ts < to_ts AND r.quality < 2
        GROUP BY bucket ORDER BY bucket;
END
$$;

-- Latest by event time, never by arrival.
CREATE FUNCTION latest_readings(wanted integer[])
RETURNS TABLE (channel_id integer, ts timestamptz, value double precision, quality smallint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.id, r.ts, r.value, r.quality
    FROM channel c
    CROSS JOIN LATERAL (SELECT x.ts, x.value, x.quality FROM reading x
                        WHERE x.channel_id = c.id ORDER BY x.ts DESC LIMIT 1) r
    WHERE c.id = ANY (wanted) AND own_channel(c.id)
$$;

CREATE FUNCTION own_events(wanted_asset uuid, from_ts timestamptz, to_ts timestamptz, most integer)
RETURNS TABLE (ts timestamptz, device_id uuid, code text, severity smallint, message text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT e.ts, e.device_id, e.code, e.severity, e.message FROM discrete_event e
    WHERE e.asset_id = wanted_asset AND own_asset(wanted_asset) AND e.tenant_id = current_tenant()
      AND e.ts >= from_ts AND e.ts < to_ts
    ORDER BY e.ts DESC LIMIT most
$$;

-- ---- Assessments ------------------------------------------------------------------------------

-- SETOF assessment: the columns are the table's. wanted NULL = every asset of the tenant.
CREATE FUNCTION latest_assessments(wanted uuid[]) RETURNS SETOF assessment
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT x.* FROM asset a
    CROSS JOIN LATERAL (SELECT s.* FROM assessment s WHERE s.asset_id = a.id
                        ORDER BY s.window_end DESC, s.assessed_at DESC LIMIT 1) x
    WHERE a.tenant_id = current_tenant() AND (current_site() IS NULL OR a.site_id = current_site())
      AND (wanted IS NULL OR a.id = ANY (wanted))
$$;

CREATE FUNCTION assessment_history(wanted uuid, from_ts timestamptz, to_ts timestamptz, most integer)
RETURNS SETOF assessment
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT s.* FROM assessment s
    WHERE s.asset_id = wanted AND own_asset(wanted) AND s.tenant_id = current_tenant()
      AND s.window_end >= from_ts AND s.window_end < to_ts
    ORDER BY s.window_end DESC LIMIT most
$$;

CREATE FUNCTION latest_features(wanted uuid) RETURNS SETOF feature
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT f.* FROM feature f WHERE f.asset_id = wanted AND own_asset(wanted) AND f.tenant_id = current_tenant()
    ORDER BY f.window_end DESC LIMIT 1
$$;

-- ---- Operation ---------------------------------------------------------------------------------

-- For "am I ready": the newest migration that was applied. The table is the migrator's own.
CREATE FUNCTION schema_version() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT coalesce(max(m.version), 0) FROM _sqlx_migrations m WHERE m.success);
END
$$;

-- Functions are executable by everyone until told otherwise.
REVOKE EXECUTE ON FUNCTION auth_user_by_email(text), auth_record_signin(uuid, boolean), auth_memberships(uuid),
    auth_api_key(bytea), own_channel(integer), own_asset(uuid), history_raw(integer, timestamptz, timestamptz, integer),
    history_buckets(integer, timestamptz, timestamptz, interval), latest_readings(integer[]),
    own_events(uuid, timestamptz, timestamptz, integer), latest_assessments(uuid[]),
    assessment_history(uuid, timestamptz, timestamptz, integer), latest_features(uuid), schema_version() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION current_tenant(), current_site(), auth_user_by_email(text), auth_record_signin(uuid, boolean),
    auth_memberships(uuid), auth_api_key(bytea), history_raw(integer, timestamptz, timestamptz, integer),
    history_buckets(integer, timestamptz, timestamptz, interval), latest_readings(integer[]),
    own_events(uuid, timestamptz, timestamptz, integer), latest_assessments(uuid[]),
    assessment_history(uuid, timestamptz, timestamptz, integer), latest_features(uuid), schema_version() TO forewarn_api;
GRANT EXECUTE ON FUNCTION outbox_wake() TO forewarn_ingest, forewarn_analytics, forewarn_api;
