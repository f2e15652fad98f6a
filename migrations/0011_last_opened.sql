-- A sign-in opens the tenant that the person worked in last; at first, the one they joined first.

ALTER TABLE membership ADD COLUMN opened_at timestamptz;          -- last sign-in to, or switch to, this tenant
-- Several memberships granted in one transaction keep their order.
ALTER TABLE membership ALTER COLUMN created_at SET DEFAULT clock_timestamp();

CREATE OR REPLACE FUNCTION auth_memberships(wanted uuid)
RETURNS TABLE (tenant_id uuid, tenant_slug text, tenant_name text, role member_role, site_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT m.tenant_id, t.slug, t.name, m.role, m.site_id
    FROM membership m JOIN tenant t ON t.id = m.tenant_id
    WHERE m.user_id = wanted ORDER BY m.opened_at DESC NULLS LAST, m.created_at, t.slug
$$;

CREATE FUNCTION auth_open_tenant(person uuid, tenant uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE membership SET opened_at = clock_timestamp() WHERE user_id = person AND tenant_id = tenant
$$;
REVOKE EXECUTE ON FUNCTION auth_open_tenant(uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth_open_tenant(uuid, uuid) TO forewarn_api;
