-- Who may see what.
--
-- A tenant is the isolation boundary. Everything below it carries tenant_id, and row-level
-- security (0009) compares it with the setting forewarn.tenant_id of the current transaction.
-- Three group roles, one for each service, hold the rights. A service logs in as any role that is
-- a member of its group role and says SET ROLE after connecting, so that one leaked connection
-- string can't do more than its service.

CREATE EXTENSION IF NOT EXISTS timescaledb;

-- Roles belong to the whole cluster, databases don't: several databases (tests) share them, and two
-- migrations may run at once, hence the handler.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['forewarn_ingest', 'forewarn_analytics', 'forewarn_api'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            END IF;
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation OR internal_error THEN
            NULL; -- somebody else made it between the question and the order
        END;
    END LOOP;
END
$$;

CREATE TABLE tenant (
    id          uuid PRIMARY KEY,
    slug        text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'), -- part of MQTT topics
    name        text NOT NULL,
    settings    jsonb NOT NULL DEFAULT '{}',
    -- Ingest quota in readings per second, NULL = the server's default.
    max_readings_per_s integer CHECK (max_readings_per_s > 0),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE site (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    name        text NOT NULL,
    time_zone   text NOT NULL, -- IANA name; checked by the application, which knows the database of zones
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)     -- lets children prove by a foreign key that they share the tenant
);

CREATE TABLE area (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    site_id     uuid NOT NULL,
    name        text NOT NULL,
    UNIQUE (site_id, name),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES site (tenant_id, id)
);

-- A person. People exist outside tenants and reach one by a membership.
CREATE TABLE app_user (
    id             uuid PRIMARY KEY,
    email          text NOT NULL,
    name           text NOT NULL,
    password_hash  text,              -- argon2id, PHC string; NULL = may not sign in by password
    failed_signins integer NOT NULL DEFAULT 0,
    locked_until   timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX app_user_email_key ON app_user (lower(email));

CREATE TYPE member_role AS ENUM (
    'viewer', 'operator', 'technician', 'planner', 'reliability_engineer', 'safety_officer', 'tenant_admin'
);

-- No row, no access. There is no "NULL means all".
CREATE TABLE membership (
    tenant_id  uuid NOT NULL REFERENCES tenant,
    user_id    uuid NOT NULL REFERENCES app_user,
    role       member_role NOT NULL,
    site_id    uuid,                  -- NULL = every site of the tenant, said by the person who granted it
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES site (tenant_id, id)
);
CREATE INDEX membership_user_idx ON membership (user_id);

-- Keys for programs. The secret has 256 random bits, so a plain SHA-256 is enough: there is no
-- dictionary to try. It is shown once.
CREATE TABLE api_key (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL REFERENCES tenant,
    name         text NOT NULL,
    secret_hash  bytea NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
    scopes       text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_by   uuid REFERENCES app_user,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);

-- What people and programs did. Append only.
CREATE TABLE audit_event (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,          -- usr_…, key_…, gtw_… or the name of a service
    action     text NOT NULL,          -- asset.create, ticket.transition, …
    subject    text NOT NULL,          -- prefixed id
    detail     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_event_tenant_idx ON audit_event (tenant_id, id DESC);
