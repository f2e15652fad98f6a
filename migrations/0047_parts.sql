-- Parts: what is there, what is spoken for, what was used. Another system owns the stock; this is the
-- part of it that maintenance needs, fed by POST /v1/parts/stock.

-- The owner's count. What was posted here after as_of is not in it yet.
CREATE TABLE part_stock (
    tenant_id      uuid NOT NULL REFERENCES tenant,
    part_number    text NOT NULL,
    warehouse      text NOT NULL,
    description    text NOT NULL DEFAULT '',
    unit           text NOT NULL DEFAULT '1',
    on_hand        double precision NOT NULL,
    lead_time_days double precision CHECK (lead_time_days >= 0),
    as_of          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, part_number, warehouse)
);

CREATE TYPE reservation_kind AS ENUM ('soft', 'hard');
CREATE TYPE reservation_status AS ENUM ('active', 'consumed', 'released');

-- soft: for a prediction that may come true; gives way to a hard one. hard: for a ticket.
CREATE TABLE part_reservation (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenant,
    asset_id      uuid NOT NULL,
    ticket_id     uuid,
    prediction_id uuid,
    part_number   text NOT NULL,
    quantity      double precision NOT NULL CHECK (quantity > 0),
    unit          text NOT NULL DEFAULT '1',
    kind          reservation_kind NOT NULL,
    status        reservation_status NOT NULL DEFAULT 'active',
    reason        text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    UNIQUE (tenant_id, id),
    CONSTRAINT part_reservation_for_something CHECK (num_nonnulls(ticket_id, prediction_id) >= 1),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id)
);
CREATE UNIQUE INDEX part_reservation_ticket_key ON part_reservation (ticket_id, part_number)
    WHERE ticket_id IS NOT NULL AND status = 'active';
CREATE UNIQUE INDEX part_reservation_prediction_key ON part_reservation (prediction_id, part_number)
    WHERE kind = 'soft' AND status = 'active';
CREATE INDEX part_reservation_part_idx ON part_reservation (tenant_id, part_number) WHERE status = 'active';

-- What was taken for a ticket. Never changed: a mistake is undone by a posting with the sign turned.
CREATE TABLE part_posting (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    ticket_id   uuid NOT NULL,
    asset_id    uuid NOT NULL,
    part_number text NOT NULL,
    warehouse   text NOT NULL,
    quantity    double precision NOT NULL CHECK (quantity <> 0),
    unit        text NOT NULL,
    reverses    uuid UNIQUE REFERENCES part_posting,
    reason      text,
    posted_at   timestamptz NOT NULL,
    posted_by   text NOT NULL,
    UNIQUE (tenant_id, id),
    CONSTRAINT part_posting_sign CHECK ((reverses IS NULL) = (quantity > 0)),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id)
);
CREATE INDEX part_posting_ticket_idx ON part_posting (ticket_id);
CREATE INDEX part_posting_part_idx ON part_posting (tenant_id, part_number, posted_at);

-- A shortage is told once for each cause and part.
CREATE TABLE part_shortage (
    tenant_id   uuid NOT NULL REFERENCES tenant,
    cause       text NOT NULL,                   -- tkt_… or prd_…
    part_number text NOT NULL,
    asset_id    uuid NOT NULL,
    missing     double precision NOT NULL,
    needed_by   timestamptz,
    reason      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, cause, part_number),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id)
);

CALL protect_tenant_tables();
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['part_reservation', 'part_posting', 'part_shortage'] LOOP
        EXECUTE format('CREATE POLICY site_only ON %I AS RESTRICTIVE TO forewarn_api
                        USING ((SELECT current_site()) IS NULL OR asset_id IN (SELECT id FROM asset))', t);
    END LOOP;
END
$$;
GRANT SELECT ON part_stock, part_posting TO forewarn_api, forewarn_analytics;
GRANT INSERT, UPDATE ON part_stock TO forewarn_api;
GRANT INSERT ON part_posting TO forewarn_api;
GRANT SELECT, INSERT, UPDATE ON part_reservation, part_shortage TO forewarn_api, forewarn_analytics;
