-- Certificate authorities of tenants: whoever shows the front door a certificate that chains up to one is a
-- gateway of that tenant, whatever else the certificate says, and of no other.
CREATE TABLE tenant_authority (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    name        text NOT NULL CHECK (name <> ''),
    certificate bytea NOT NULL CHECK (octet_length(certificate) <= 16384),  -- DER
    sha256      bytea NOT NULL CHECK (octet_length(sha256) = 32),
    site_id     uuid,              -- where gateways that aren't registered are; NULL = those are refused
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  text NOT NULL,
    revoked_at  timestamptz,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES site (tenant_id, id)
);
CREATE UNIQUE INDEX tenant_authority_sha256_key ON tenant_authority (tenant_id, sha256) WHERE revoked_at IS NULL;

-- Which authority vouched for a certificate. Who revokes the authority revokes what it vouched for.
ALTER TABLE gateway_credential ADD COLUMN authority_id uuid;
ALTER TABLE gateway_credential ADD FOREIGN KEY (tenant_id, authority_id) REFERENCES tenant_authority (tenant_id, id);
CREATE INDEX gateway_credential_authority_idx ON gateway_credential (authority_id) WHERE authority_id IS NOT NULL;

CALL protect_tenant_tables();
-- An authority is the whole tenant's business.
CREATE POLICY site_only ON tenant_authority AS RESTRICTIVE TO forewarn_api USING ((SELECT current_site()) IS NULL);
GRANT SELECT, INSERT, UPDATE ON tenant_authority TO forewarn_api;
GRANT SELECT ON tenant_authority TO forewarn_ingest;

-- As gateway_by_certificate (0020), for a certificate that an authority of a tenant vouches for.
CREATE FUNCTION gateway_by_authority(
    authority uuid, wanted_gateway text, fingerprint bytea, new_credential uuid, new_gateway uuid
) RETURNS TABLE (credential_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    vouching tenant_authority;
    found_gateway uuid;
    usable boolean;
BEGIN
    SELECT * INTO vouching FROM tenant_authority WHERE id = authority AND revoked_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT id, enabled INTO found_gateway, usable FROM gateway
        WHERE tenant_id = vouching.tenant_id AND slug = wanted_gateway;
    IF found_gateway IS NULL AND vouching.site_id IS NOT NULL THEN
        INSERT INTO gateway (id, tenant_id, site_id, slug, name)
            VALUES (new_gateway, vouching.tenant_id, vouching.site_id, wanted_gateway, wanted_gateway)
            ON CONFLICT (tenant_id, slug) DO NOTHING;
        SELECT id, enabled INTO found_gateway, usable FROM gateway
            WHERE tenant_id = vouching.tenant_id AND slug = wanted_gateway;
        IF found_gateway = new_gateway THEN
            INSERT INTO audit_event (tenant_id, actor, action, subject, detail)
                VALUES (vouching.tenant_id, 'ingest', 'gateway.create_by_certificate',
                        'gtw_' || replace(new_gateway::text, '-', ''),
                        jsonb_build_object('slug', wanted_gateway,
                                           'authority', 'cau_' || replace(authority::text, '-', '')));
        END IF;
    END IF;
    IF found_gateway IS NULL OR NOT usable THEN
        RETURN;
    END IF;
    INSERT INTO gateway_credential (id, tenant_id, gateway_id, certificate_sha256, authority_id)
        VALUES (new_credential, vouching.tenant_id, found_gateway, fingerprint, authority)
        ON CONFLICT (gateway_id, certificate_sha256) WHERE certificate_sha256 IS NOT NULL DO NOTHING;
    RETURN QUERY SELECT c.id FROM gateway_credential c
        WHERE c.gateway_id = found_gateway AND c.certificate_sha256 = fingerprint
          AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > now());
END
$$;
REVOKE ALL ON FUNCTION gateway_by_authority FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gateway_by_authority TO forewarn_ingest;
