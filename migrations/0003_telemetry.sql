-- From the wire to the hypertable.

CREATE TABLE gateway (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL REFERENCES tenant,
    site_id      uuid NOT NULL,
    slug         text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$' AND slug <> 'me'),
    name         text NOT NULL,
    enabled      boolean NOT NULL DEFAULT true,
    -- Names nobody has registered become channels by themselves up to this number.
    max_channels integer NOT NULL DEFAULT 10000 CHECK (max_channels >= 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, slug),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES site (tenant_id, id)
);

-- MQTT user name is '{tenant slug}/{gateway slug}', the password is the secret. Several rows of one
-- gateway may be valid at once: that is how a secret is rotated without an interruption.
CREATE TABLE gateway_credential (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    gateway_id  uuid NOT NULL,
    secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32), -- SHA-256 of a 256-bit random secret
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    revoked_at  timestamptz,
    UNIQUE (gateway_id, secret_hash),
    FOREIGN KEY (tenant_id, gateway_id) REFERENCES gateway (tenant_id, id)
);

-- A thing behind a gateway. asset_id NULL = nobody has said yet which machine it sits on.
CREATE TABLE device (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    gateway_id   uuid NOT NULL,
    name         text NOT NULL CHECK (name <> ''),
    asset_id     uuid,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (gateway_id, name),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, gateway_id) REFERENCES gateway (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id)   REFERENCES asset (tenant_id, id)
);
CREATE INDEX device_asset_idx ON device (asset_id) WHERE asset_id IS NOT NULL;

CREATE TYPE channel_kind AS ENUM ('measurement', 'state', 'counter', 'setting');

-- One series with a unit. The key is an integer because it stands in every reading.
CREATE TABLE channel (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    device_id   uuid NOT NULL,
    asset_id    uuid,                       -- NULL = unassigned; binding later keeps the history
    name        text NOT NULL CHECK (name <> ''),
    label       text,                       -- what people read; NULL = name
    unit        text NOT NULL DEFAULT '1',  -- UCUM code; '1' = dimensionless
    kind        channel_kind NOT NULL DEFAULT 'measurement',
    -- Expected seconds between readings; NULL = irregular. Gaps by cadence and freshness need it.
    cadence_s   double precision CHECK (cadence_s > 0),
    -- A reading outside is stored with quality "suspect", never thrown away.
    plausible_min double precision,
    plausible_max double precision,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (device_id, name),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES device (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id)  REFERENCES asset (tenant_id, id)
);
CREATE INDEX channel_asset_idx ON channel (asset_id) WHERE asset_id IS NOT NULL;
CREATE INDEX channel_tenant_idx ON channel (tenant_id, id);

-- The readings. One value of a channel at a time; the primary key makes a doubled reading
-- impossible. quality: 0 good, 1 suspect, 2 bad (models::reading::Quality).
-- No tenant_id: the channel implies it, and eight bytes a reading are worth saving. The API's role
-- has no right on this table and reads through the functions of 0010, which compare the tenant.
CREATE TABLE reading (
    ts          timestamptz NOT NULL,
    value       double precision NOT NULL,
    channel_id  integer NOT NULL,
    quality     smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (channel_id, ts)
);
SELECT create_hypertable('reading', by_range('ts', INTERVAL '7 days'), create_default_indexes => false);

-- A second, different value for the same channel and microsecond. The first one stays; this is kept
-- and reported.
CREATE TABLE reading_conflict (
    channel_id  integer NOT NULL,
    ts          timestamptz NOT NULL,
    value       double precision NOT NULL,
    quality     smallint NOT NULL,
    gateway_id  uuid NOT NULL,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel_id, ts, value)
);

-- Things that happen at a moment and have no value: error codes, starts, trips.
CREATE TABLE discrete_event (
    ts          timestamptz NOT NULL,
    tenant_id   uuid NOT NULL,
    device_id   uuid NOT NULL,
    asset_id    uuid,
    code        text NOT NULL,
    severity    smallint NOT NULL DEFAULT 0,
    message     text,
    PRIMARY KEY (device_id, code, ts)
);
SELECT create_hypertable('discrete_event', by_range('ts', INTERVAL '30 days'), create_default_indexes => false);
CREATE INDEX discrete_event_asset_idx ON discrete_event (asset_id, ts DESC) WHERE asset_id IS NOT NULL;
