-- What MQTT publishers are owed over a restart of the front door: that a message of QoS 2 is taken once,
-- and that somebody says so when they don't come back.

-- The packet identifier of a QoS 2 message that was taken in a session that outlives its connection:
-- from before its PUBREC until its PUBREL. The same message again is answered and not taken again.
CREATE TABLE mqtt_received (
    door       text NOT NULL,
    session_id bigint NOT NULL,
    packet_id  integer NOT NULL CHECK (packet_id BETWEEN 1 AND 65535),
    tenant_id  uuid NOT NULL,
    PRIMARY KEY (door, session_id, packet_id),
    FOREIGN KEY (door, session_id) REFERENCES mqtt_session ON DELETE CASCADE
);

-- The will of each connection that is open, or that ended and whose will waits. After a kill it is
-- published unless its client is back within delay_s.
CREATE TABLE mqtt_will (
    door       text NOT NULL REFERENCES mqtt_door,
    connection bigint NOT NULL,        -- of the door, never given twice
    tenant_id  uuid NOT NULL,
    gateway_id uuid NOT NULL,
    client_id  text NOT NULL,
    topic      text NOT NULL,          -- as the client gave it
    payload    bytea NOT NULL,
    qos        smallint NOT NULL CHECK (qos BETWEEN 0 AND 2),
    retain     boolean NOT NULL,
    about      jsonb NOT NULL,         -- properties, message expiry, what the credential was granted
    delay_s    bigint NOT NULL,        -- the will's own delay, and no less than the keep alive would have taken
    PRIMARY KEY (door, connection),
    FOREIGN KEY (tenant_id, gateway_id) REFERENCES gateway (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX mqtt_will_gateway_idx ON mqtt_will (tenant_id, gateway_id);

CALL protect_tenant_tables();
GRANT SELECT, INSERT, UPDATE, DELETE ON mqtt_received, mqtt_will TO forewarn_ingest;
