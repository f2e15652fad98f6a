-- The configuration that Forewarn wants a gateway's agent to run, and what the agent says of it. The
-- agent tries it and takes it back by itself when the link doesn't return; the site decides whether it
-- listens at all (docs/edge.md).
CREATE TABLE gateway_configuration (
    gateway_id  uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    number      integer NOT NULL CHECK (number > 0), -- counts up with each change
    version     text NOT NULL,     -- what the agent calls it: the number and the beginning of the text's SHA-256
    config      text NOT NULL CHECK (octet_length(config) <= 262144),
    wanted_at   timestamptz NOT NULL DEFAULT now(),
    wanted_by   text NOT NULL,
    sent_at     timestamptz,       -- NULL = the gateway hasn't been there, or doesn't listen
    state       text NOT NULL DEFAULT 'pending'
                CHECK (state IN ('pending', 'trial', 'active', 'rolled_back', 'refused')),
    reason      text,              -- why it was refused or taken back, in the agent's words
    reported_at timestamptz,
    CHECK ((state = 'pending') = (reported_at IS NULL)),
    FOREIGN KEY (tenant_id, gateway_id) REFERENCES gateway (tenant_id, id)
);
CREATE INDEX gateway_configuration_tenant_idx ON gateway_configuration (tenant_id, gateway_id);
CREATE INDEX gateway_configuration_pending_idx ON gateway_configuration (gateway_id) WHERE state = 'pending';

CALL protect_tenant_tables();
CREATE POLICY site_only ON gateway_configuration AS RESTRICTIVE TO forewarn_api
    USING ((SELECT current_site()) IS NULL OR gateway_id IN (SELECT id FROM gateway));
GRANT SELECT, INSERT, UPDATE ON gateway_configuration TO forewarn_api;
GRANT SELECT, UPDATE (sent_at, state, reason, reported_at) ON gateway_configuration TO forewarn_ingest;
