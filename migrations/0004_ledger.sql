-- "Was it stored, and if not, where did it go?" Everything here is written in the transaction that
-- stores the readings it speaks of.

-- Per gateway and spool epoch: the highest contiguous sequence number that is committed.
-- contiguous_seq is never the maximum: a batch beyond a gap is stored, listed in cursor_ahead, and
-- moves the cursor only when the gap has closed.
CREATE TABLE gateway_cursor (
    gateway_id      uuid NOT NULL REFERENCES gateway,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    epoch           bigint NOT NULL,
    contiguous_seq  bigint NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gateway_id, epoch)
);

CREATE TABLE cursor_ahead (
    gateway_id uuid NOT NULL,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    epoch      bigint NOT NULL,
    seq        bigint NOT NULL,
    PRIMARY KEY (gateway_id, epoch, seq),
    FOREIGN KEY (gateway_id, epoch) REFERENCES gateway_cursor
);

-- Per gateway and UTC day of receipt: received = stored + duplicate + conflict + rejected.
-- The check makes a ledger that doesn't close impossible to commit.
-- payloads_dead counts payloads nobody could decode: how many readings they held is unknown.
CREATE TABLE ledger (
    gateway_id     uuid NOT NULL REFERENCES gateway,
    tenant_id      uuid NOT NULL REFERENCES tenant,
    day            date NOT NULL,
    received       bigint NOT NULL DEFAULT 0,
    stored         bigint NOT NULL DEFAULT 0,
    duplicate      bigint NOT NULL DEFAULT 0,
    conflict       bigint NOT NULL DEFAULT 0,
    rejected       bigint NOT NULL DEFAULT 0,  -- each of them stands in dead_letter
    payloads       bigint NOT NULL DEFAULT 0,
    payloads_dead  bigint NOT NULL DEFAULT 0,
    first_at       timestamptz NOT NULL DEFAULT now(),
    last_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gateway_id, day),
    CONSTRAINT ledger_closes CHECK (received = stored + duplicate + conflict + rejected)
);

-- A hole in a gateway's sequence. lost_at set = the gateway said by `floor` that it no longer has
-- these batches: the loss is a fact and not silent. closed_at set = they arrived after all.
CREATE TABLE sequence_gap (
    gateway_id  uuid NOT NULL REFERENCES gateway,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    epoch       bigint NOT NULL,
    first_seq   bigint NOT NULL,
    last_seq    bigint NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT now(),
    closed_at   timestamptz,
    lost_at     timestamptz,
    PRIMARY KEY (gateway_id, epoch, first_seq),
    CHECK (last_seq >= first_seq)
);

-- What could not be stored, whole, with its reason; can be mended and replayed.
CREATE TABLE dead_letter (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    gateway_id  uuid NOT NULL REFERENCES gateway,
    received_at timestamptz NOT NULL DEFAULT now(),
    topic       text NOT NULL,
    -- The raw payload when nothing in it could be read, else the single readings as JSON.
    payload     bytea NOT NULL,
    format      text NOT NULL,            -- codec that was tried: native, json, readings
    reason      text NOT NULL,            -- stable code: malformed_json, not_finite, too_far_in_future, …
    detail      text NOT NULL,            -- the field, the value, the remedy
    readings    integer NOT NULL DEFAULT 0,  -- how many readings of the ledger's `rejected` stand here
    replayed_at timestamptz,
    discarded_at timestamptz
);
CREATE INDEX dead_letter_open_idx ON dead_letter (tenant_id, received_at DESC)
    WHERE replayed_at IS NULL AND discarded_at IS NULL;

-- One row for each transaction of the writer, written first inside it. When the connection is lost
-- during COMMIT nobody knows what became of the transaction: the writer runs it again, finds its
-- token and knows. Without that, the ledger would count the same payloads twice. Kept for a day.
CREATE TABLE ingest_commit (
    token         uuid PRIMARY KEY,
    committed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ingest_commit_age_idx ON ingest_commit (committed_at);
GRANT SELECT, INSERT, DELETE ON ingest_commit TO forewarn_ingest;
