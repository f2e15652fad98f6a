-- The newest health of assets, for the roll-up over the asset tree, which wants thousands of them and nothing else of
-- their assessments. wanted NULL = every asset of the tenant. Those wanted are joined, not compared one by one: a
-- parameter's array is searched from its beginning for each asset.
CREATE FUNCTION latest_health(wanted uuid[])
RETURNS TABLE (asset_id uuid, health double precision, as_of timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT a.id, x.health, x.window_end
    FROM (SELECT id FROM asset WHERE wanted IS NULL UNION ALL SELECT unnest(wanted)) w JOIN asset a ON a.id = w.id
    CROSS JOIN LATERAL (SELECT s.health, s.window_end FROM assessment s WHERE s.asset_id = a.id
                        ORDER BY s.window_end DESC, s.assessed_at DESC LIMIT 1) x
    WHERE a.tenant_id = current_tenant() AND (current_site() IS NULL OR a.site_id = current_site())
$$;
REVOKE EXECUTE ON FUNCTION latest_health(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION latest_health(uuid[]) TO forewarn_api;
