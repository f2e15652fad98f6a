-- What MQTT sessions keep over a restart of the front door: subscriptions, commands that wait, retained
-- messages. A command was acknowledged to whoever sent it when it stood here. Readings have nothing to
-- do with this.

-- One row for each front door (ingest.door). Whoever starts under its name counts the epoch up; a
-- process that finds a newer one than its own has been replaced and writes nothing here any more.
CREATE TABLE mqtt_door (
    door  text PRIMARY KEY,
    epoch bigint NOT NULL
);

-- A session that outlives its connection.
CREATE TABLE mqtt_session (
    door          text NOT NULL REFERENCES mqtt_door,
    id            bigint NOT NULL,         -- of the door, never given twice
    tenant_id     uuid NOT NULL,
    gateway_id    uuid NOT NULL,
    client_id     text NOT NULL,
    subscriptions jsonb NOT NULL,          -- as ingest::front_door::hub has them
    expiry_s      bigint NOT NULL,         -- how long it outlives its connection
    expires_at    timestamptz,             -- NULL = it has a connection
    PRIMARY KEY (door, id),
    UNIQUE (door, gateway_id, client_id),
    FOREIGN KEY (tenant_id, gateway_id) REFERENCES gateway (tenant_id, id)
);
CREATE INDEX mqtt_session_gateway_idx ON mqtt_session (tenant_id, gateway_id);

-- A message of QoS 1 or 2 that waits for one client, or is on its way to it.
CREATE TABLE mqtt_queued (
    door       text NOT NULL,
    session_id bigint NOT NULL,
    entry      bigint NOT NULL,            -- in order
    tenant_id  uuid NOT NULL,
    topic      text NOT NULL,
    payload    bytea NOT NULL,
    qos        smallint NOT NULL CHECK (qos IN (1, 2)),
    about      jsonb NOT NULL,             -- properties, identifiers, flags
    expires_at timestamptz,
    packet_id  integer NOT NULL CHECK (packet_id BETWEEN 1 AND 65535), -- the same after a restart
    released   boolean NOT NULL DEFAULT false,                         -- QoS 2: its PUBREC came
    PRIMARY KEY (door, session_id, entry),
    FOREIGN KEY (door, session_id) REFERENCES mqtt_session ON DELETE CASCADE
);

-- The retained message of a topic.
CREATE TABLE mqtt_retained (
    door       text NOT NULL REFERENCES mqtt_door,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    topic      text NOT NULL,
    payload    bytea NOT NULL,
    qos        smallint NOT NULL,
    about      jsonb NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (door, tenant_id, topic)
);

CALL protect_tenant_tables();
GRANT SELECT, INSERT, UPDATE ON mqtt_door TO forewarn_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON mqtt_session, mqtt_queued, mqtt_retained TO forewarn_ingest;
