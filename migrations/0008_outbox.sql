-- What others should hear of, written in the transaction that made it true.
-- The API's live stream and, later, webhooks read it in order of id. The notification carries no
-- data: it only wakes the readers.

CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    -- Transaction that wrote the row. Readers go by (xid, id) and take rows below the oldest open
    -- transaction only: by id alone they would skip a row that commits late with a lower id.
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at         timestamptz NOT NULL DEFAULT now(),
    kind       text NOT NULL,          -- alarm.raised, ticket.created, asset.health_changed, …
    subject    text NOT NULL,          -- prefixed id
    asset_id   uuid,
    data       jsonb NOT NULL
);
CREATE INDEX outbox_tenant_idx ON outbox (tenant_id, xid, id);
CREATE INDEX outbox_order_idx ON outbox (xid, id);

CREATE FUNCTION outbox_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('forewarn_outbox', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER outbox_wake AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_wake();

-- Answers already given to a request with an Idempotency-Key, kept for a day at least.
CREATE TABLE idempotency_key (
    tenant_id    uuid NOT NULL REFERENCES tenant,
    credential   text NOT NULL,
    route        text NOT NULL,
    key          text NOT NULL,
    fingerprint  bytea NOT NULL,       -- SHA-256 of the request body
    -- Written in the transaction that did the work; while it runs, an advisory lock stands for it.
    status       smallint NOT NULL,
    body         jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, credential, route, key)
);
CREATE INDEX idempotency_key_age_idx ON idempotency_key (tenant_id, created_at);
