-- How gateways prove who they are, what they may do beside their own topics, and how fast.

-- Three kinds of credential; one row is one of them.
--   secret_hash         SHA-256 of a secret of 256 random bits: no dictionary to try, compared in constant time
--   password_hash       argon2id, PHC string: a password that a person chose
--   certificate_sha256  a client certificate that the front door's authorities vouch for
ALTER TABLE gateway_credential ALTER COLUMN secret_hash DROP NOT NULL;
ALTER TABLE gateway_credential ADD COLUMN password_hash text;
ALTER TABLE gateway_credential ADD COLUMN certificate_sha256 bytea CHECK (octet_length(certificate_sha256) = 32);
ALTER TABLE gateway_credential ADD CONSTRAINT gateway_credential_kind
    CHECK (num_nonnulls(secret_hash, password_hash, certificate_sha256) = 1);
CREATE UNIQUE INDEX gateway_credential_certificate_key ON gateway_credential (gateway_id, certificate_sha256)
    WHERE certificate_sha256 IS NOT NULL;

-- MQTT topic filters of the tenant that this credential opens beside its gateway's own topics: for
-- dashboards, bridges, and whoever sends commands to gateways. Empty = none.
ALTER TABLE gateway_credential ADD COLUMN publish_filters text[] NOT NULL DEFAULT '{}';
ALTER TABLE gateway_credential ADD COLUMN subscribe_filters text[] NOT NULL DEFAULT '{}';

-- Beside tenant.max_readings_per_s. NULL = the server's default. Who is faster is slowed down.
ALTER TABLE tenant ADD COLUMN max_bytes_per_s integer CHECK (max_bytes_per_s > 0);

-- A code, said once to whoever mounts the gateway, that becomes a credential once.
CREATE TABLE gateway_claim (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL,
    gateway_id    uuid NOT NULL,
    code_hash     bytea NOT NULL UNIQUE CHECK (octet_length(code_hash) = 32), -- SHA-256 of the code
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    used_at       timestamptz,
    revoked_at    timestamptz,
    credential_id uuid REFERENCES gateway_credential, -- what it became
    CHECK ((used_at IS NULL) = (credential_id IS NULL)),
    FOREIGN KEY (tenant_id, gateway_id) REFERENCES gateway (tenant_id, id)
);
CREATE INDEX gateway_claim_gateway_idx ON gateway_claim (gateway_id);

-- How far a gateway's clock is ahead of ours, as far as its messages tell: the smallest difference
-- between sending and receiving of the last minutes, because whatever the network adds only makes it larger.
CREATE TABLE gateway_clock (
    gateway_id  uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    ahead_us    bigint NOT NULL,  -- negative = behind; includes the fastest way of a message, some milliseconds
    measured_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, gateway_id) REFERENCES gateway (tenant_id, id)
);

CALL protect_tenant_tables();
CREATE POLICY site_only ON gateway_claim AS RESTRICTIVE TO forewarn_api
    USING ((SELECT current_site()) IS NULL OR gateway_id IN (SELECT id FROM gateway));
CREATE POLICY site_only ON gateway_clock AS RESTRICTIVE TO forewarn_api
    USING ((SELECT current_site()) IS NULL OR gateway_id IN (SELECT id FROM gateway));
GRANT SELECT, INSERT, UPDATE ON gateway_claim TO forewarn_api;
GRANT SELECT ON gateway_clock TO forewarn_api;
GRANT SELECT, INSERT, UPDATE ON gateway_clock TO forewarn_ingest;

-- A claim is shown before a tenant is known, and by a gateway that is nobody yet: it goes through a
-- function that does exactly this one thing for whoever knows the code.
CREATE FUNCTION claim_gateway(claim_hash bytea, new_credential uuid, new_secret_hash bytea)
RETURNS TABLE (tenant_slug text, gateway_slug text, gateway_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    claim gateway_claim;
BEGIN
    SELECT c.* INTO claim FROM gateway_claim c
        JOIN gateway g ON g.id = c.gateway_id AND g.enabled
        WHERE c.code_hash = claim_hash AND c.used_at IS NULL AND c.revoked_at IS NULL AND c.expires_at > now()
        FOR UPDATE OF c;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO gateway_credential (id, tenant_id, gateway_id, secret_hash)
        VALUES (new_credential, claim.tenant_id, claim.gateway_id, new_secret_hash);
    UPDATE gateway_claim SET used_at = now(), credential_id = new_credential WHERE id = claim.id;
    INSERT INTO audit_event (tenant_id, actor, action, subject, detail)
        VALUES (claim.tenant_id, 'gtw_' || replace(claim.gateway_id::text, '-', ''), 'gateway.claim',
                'gtw_' || replace(claim.gateway_id::text, '-', ''),
                jsonb_build_object('credential', 'crd_' || replace(new_credential::text, '-', '')));
    RETURN QUERY SELECT t.slug, g.slug, g.id FROM gateway g JOIN tenant t ON t.id = g.tenant_id
        WHERE g.id = claim.gateway_id;
END
$$;

-- Whether a code would be taken, before a connection is let in for it.
CREATE FUNCTION claim_is_open(claim_hash bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM gateway_claim c JOIN gateway g ON g.id = c.gateway_id AND g.enabled
        WHERE c.code_hash = claim_hash AND c.used_at IS NULL AND c.revoked_at IS NULL AND c.expires_at > now())
$$;

-- A gateway whose certificate chains up to an authority of the front door and names it. The first
-- time, its certificate becomes a credential, which can be seen and revoked like any other; with a
-- site's name, a gateway that isn't registered is. Nothing comes back when it may not come in.
CREATE FUNCTION gateway_by_certificate(
    wanted_tenant text, wanted_gateway text, fingerprint bytea, new_credential uuid, new_gateway uuid, new_site text
) RETURNS TABLE (credential_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found_tenant uuid;
    found_gateway uuid;
    usable boolean;
BEGIN
    SELECT id INTO found_tenant FROM tenant WHERE slug = wanted_tenant;
    IF found_tenant IS NULL THEN
        RETURN;
    END IF;
    SELECT id, enabled INTO found_gateway, usable FROM gateway WHERE tenant_id = found_tenant AND slug = wanted_gateway;
    IF found_gateway IS NULL AND new_site IS NOT NULL THEN
        INSERT INTO gateway (id, tenant_id, site_id, slug, name)
            SELECT new_gateway, found_tenant, s.id, wanted_gateway, wanted_gateway
            FROM site s WHERE s.tenant_id = found_tenant AND s.name = new_site
            ON CONFLICT (tenant_id, slug) DO NOTHING;
        SELECT id, enabled INTO found_gateway, usable FROM gateway
            WHERE tenant_id = found_tenant AND slug = wanted_gateway;
        IF found_gateway = new_gateway THEN
            INSERT INTO audit_event (tenant_id, actor, action, subject, detail)
                VALUES (found_tenant, 'ingest', 'gateway.create_by_certificate',
                        'gtw_' || replace(new_gateway::text, '-', ''), jsonb_build_object('slug', wanted_gateway));
        END IF;
    END IF;
    IF found_gateway IS NULL OR NOT usable THEN
        RETURN;
    END IF;
    INSERT INTO gateway_credential (id, tenant_id, gateway_id, certificate_sha256)
        VALUES (new_credential, found_tenant, found_gateway, fingerprint)
        ON CONFLICT (gateway_id, certificate_sha256) WHERE certificate_sha256 IS NOT NULL DO NOTHING;
    RETURN QUERY SELECT c.id FROM gateway_credential c
        WHERE c.gateway_id = found_gateway AND c.certificate_sha256 = fingerprint
          AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > now());
END
$$;

REVOKE ALL ON FUNCTION claim_gateway, claim_is_open, gateway_by_certificate FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_gateway, claim_is_open TO forewarn_ingest, forewarn_api;
GRANT EXECUTE ON FUNCTION gateway_by_certificate TO forewarn_ingest;
