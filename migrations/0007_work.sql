-- Alarm -> case -> ticket. What must happen at most once is decided by the unique indexes here, so
-- that no second worker, replay or client can break it.

CREATE TYPE severity AS ENUM ('info', 'warning', 'serious', 'critical');

CREATE TYPE alarm_rule_kind AS ENUM (
    'high', 'low', 'rate', 'stuck', 'no_data', 'deviation', 'health_below', 'probability_above'
);

-- Limit kinds (high, low, rate, stuck) run in the transaction that commits the readings, the others
-- in analytics. Exactly one of channel and asset says where the rule applies.
CREATE TABLE alarm_rule (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    asset_id        uuid NOT NULL,
    channel_id      integer,
    name            text NOT NULL,
    kind            alarm_rule_kind NOT NULL,
    limit_value     double precision NOT NULL,  -- in the channel's unit, per second for rate, points for health, 0-1 for probability
    deadband        double precision NOT NULL DEFAULT 0 CHECK (deadband >= 0),
    on_delay_s      double precision NOT NULL DEFAULT 0 CHECK (on_delay_s >= 0),
    off_delay_s     double precision NOT NULL DEFAULT 0 CHECK (off_delay_s >= 0),
    min_samples     integer NOT NULL DEFAULT 1 CHECK (min_samples >= 1),
    severity        severity NOT NULL,
    failure_mode_id uuid,
    makes_ticket    boolean NOT NULL DEFAULT true,
    latched         boolean NOT NULL DEFAULT false,
    enabled         boolean NOT NULL DEFAULT true,
    params          jsonb NOT NULL DEFAULT '{}',
    row_version     integer NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id),
    UNIQUE (asset_id, name),
    CHECK ((kind IN ('health_below', 'probability_above')) = (channel_id IS NULL)),
    FOREIGN KEY (tenant_id, asset_id)   REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, channel_id) REFERENCES channel (tenant_id, id),
    FOREIGN KEY (tenant_id, failure_mode_id) REFERENCES failure_mode (tenant_id, id)
);
CREATE INDEX alarm_rule_channel_idx ON alarm_rule (channel_id) WHERE enabled;

-- Ingest keeps the rules in memory; this tells it to read them again.
CREATE FUNCTION alarm_rule_wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('forewarn_alarm_rules', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER alarm_rule_wake AFTER INSERT OR UPDATE OR DELETE ON alarm_rule
    FOR EACH STATEMENT EXECUTE FUNCTION alarm_rule_wake();

CREATE TYPE alarm_condition AS ENUM ('inactive', 'pending', 'active', 'clearing');
CREATE TYPE alarm_suppression AS ENUM ('none', 'shelved', 'by_design', 'out_of_service');

-- One occurrence of a rule's condition (ISA-18.2: condition x acknowledgement x suppression).
-- It is open until the condition is inactive again and somebody has acknowledged it.
CREATE TABLE alarm (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    rule_id         uuid NOT NULL,
    asset_id        uuid NOT NULL,
    channel_id      integer,
    failure_mode_id uuid,
    severity        severity NOT NULL,
    condition       alarm_condition NOT NULL,
    acked_at        timestamptz,
    acked_by        text,
    suppression     alarm_suppression NOT NULL DEFAULT 'none',
    suppressed_until timestamptz,
    suppression_reason text,
    pending_since   timestamptz NOT NULL,   -- event time of the first breach; never overwritten
    active_at       timestamptz,            -- event time
    cleared_at      timestamptz,            -- event time of the return to normal
    closed_at       timestamptz,            -- inactive and acknowledged
    samples         integer NOT NULL DEFAULT 0,
    first_value     double precision NOT NULL,
    last_value      double precision NOT NULL,
    peak_value      double precision NOT NULL,
    limit_value     double precision NOT NULL,
    machine         jsonb NOT NULL DEFAULT '{}', -- state of the pure state machine (models::alarm)
    flap_count      integer NOT NULL DEFAULT 0,
    case_id         uuid,
    dispatched_at   timestamptz,            -- when the dispatcher had said its last word on it
    row_version     integer NOT NULL DEFAULT 1,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, rule_id)    REFERENCES alarm_rule (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id)   REFERENCES asset (tenant_id, id)
);
-- One running alarm per rule. A cleared one that waits for its acknowledgement doesn't block the next.
CREATE UNIQUE INDEX alarm_open_key ON alarm (rule_id) WHERE condition <> 'inactive';
CREATE INDEX alarm_undispatched_idx ON alarm (active_at) WHERE dispatched_at IS NULL AND active_at IS NOT NULL;
CREATE INDEX alarm_rule_idx ON alarm (rule_id, pending_since DESC);
CREATE INDEX alarm_case_idx ON alarm (case_id) WHERE case_id IS NOT NULL;
CREATE INDEX alarm_asset_idx ON alarm (tenant_id, asset_id, pending_since DESC);

CREATE TABLE alarm_event (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenant,
    alarm_id  uuid NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    kind      text NOT NULL,            -- raised, activated, cleared, acknowledged, shelved, …
    actor     text NOT NULL,
    detail    jsonb NOT NULL DEFAULT '{}',
    FOREIGN KEY (tenant_id, alarm_id) REFERENCES alarm (tenant_id, id)
);
CREATE INDEX alarm_event_alarm_idx ON alarm_event (alarm_id, id);

-- Asset + failure mode: what a planner sees. ("case" is a word of SQL, hence the table's name.)
CREATE TABLE case_file (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    asset_id        uuid NOT NULL,
    failure_mode_id uuid,               -- NULL = not known yet
    title           text NOT NULL,
    severity        severity NOT NULL,
    opened_at       timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    closed_at       timestamptz,
    close_reason    text,
    merged_into     uuid,
    row_version     integer NOT NULL DEFAULT 1,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, failure_mode_id) REFERENCES failure_mode (tenant_id, id),
    FOREIGN KEY (tenant_id, merged_into) REFERENCES case_file (tenant_id, id)
);
CREATE UNIQUE INDEX case_file_open_key ON case_file (asset_id, failure_mode_id) NULLS NOT DISTINCT
    WHERE closed_at IS NULL;

ALTER TABLE alarm ADD FOREIGN KEY (tenant_id, case_id) REFERENCES case_file (tenant_id, id);

CREATE TYPE prediction_status AS ENUM (
    'new', 'in_review', 'accepted', 'attached', 'dismissed', 'snoozed', 'expired'
);

-- What a planner reviews. Re-scoring revises the row, it never adds a second one.
CREATE TABLE prediction (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    asset_id        uuid NOT NULL,
    failure_mode_id uuid,
    horizon_h       integer NOT NULL CHECK (horizon_h > 0),
    status          prediction_status NOT NULL DEFAULT 'new',
    probability     double precision NOT NULL CHECK (probability BETWEEN 0 AND 1),
    p_low           double precision NOT NULL CHECK (p_low BETWEEN 0 AND 1),
    p_high          double precision NOT NULL CHECK (p_high BETWEEN 0 AND 1),
    peak_probability double precision NOT NULL CHECK (peak_probability BETWEEN 0 AND 1),
    rul_p10_h       double precision,
    rul_p50_h       double precision,
    rul_p90_h       double precision,
    factors         jsonb NOT NULL,
    model_version_id uuid NOT NULL,
    window_end      timestamptz NOT NULL,
    revision        integer NOT NULL DEFAULT 1,
    claimed_by      uuid REFERENCES app_user,
    snoozed_until   timestamptz,
    snooze_above    double precision,
    below_since     timestamptz,            -- since when it has been too unlikely to keep
    dismiss_reason  text,
    case_id         uuid,
    ticket_id       uuid,
    label           text CHECK (label IN ('confirmed_prevented', 'confirmed_failed', 'different_fault_found',
                                          'no_fault_found', 'inconclusive', 'false_negative', 'missed_after_dismissal')),
    label_source    text CHECK (label_source IN ('ticket', 'person', 'auto')),
    opened_at       timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    closed_at       timestamptz,
    dispatched_at   timestamptz,
    row_version     integer NOT NULL DEFAULT 1,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, failure_mode_id) REFERENCES failure_mode (tenant_id, id),
    FOREIGN KEY (tenant_id, case_id) REFERENCES case_file (tenant_id, id)
);
CREATE UNIQUE INDEX prediction_open_key ON prediction (asset_id, failure_mode_id, horizon_h) NULLS NOT DISTINCT
    WHERE status IN ('new', 'in_review', 'snoozed');

CREATE INDEX prediction_asset_idx ON prediction (asset_id, failure_mode_id, horizon_h);
CREATE INDEX prediction_case_idx ON prediction (case_id) WHERE case_id IS NOT NULL;

CREATE TABLE prediction_event (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES tenant,
    prediction_id uuid NOT NULL,
    at            timestamptz NOT NULL DEFAULT now(),
    kind          text NOT NULL,
    actor         text NOT NULL,
    detail        jsonb NOT NULL DEFAULT '{}',
    FOREIGN KEY (tenant_id, prediction_id) REFERENCES prediction (tenant_id, id)
);

CREATE TYPE ticket_status AS ENUM (
    'open', 'accepted', 'planned', 'waiting_parts', 'waiting_window', 'scheduled', 'assigned',
    'in_progress', 'on_hold', 'completed', 'closed', 'cancelled'
);
CREATE TYPE ticket_priority AS ENUM ('low', 'medium', 'high', 'critical');
CREATE TYPE ticket_origin AS ENUM ('alarm', 'prediction', 'plan', 'person', 'external');

-- Work on an asset. origin_key is the idempotency key of whatever made it.
CREATE TABLE ticket (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    number          integer NOT NULL,          -- counted per tenant, what people say aloud
    asset_id        uuid NOT NULL,
    case_id         uuid,
    occurrence_id   uuid,
    failure_mode_id uuid,
    origin          ticket_origin NOT NULL,
    origin_key      text NOT NULL,
    title           text NOT NULL,
    description     text NOT NULL DEFAULT '',
    status          ticket_status NOT NULL DEFAULT 'open',
    priority        ticket_priority NOT NULL,
    assignee_id     uuid REFERENCES app_user,
    due_at          timestamptz,
    scheduled_start timestamptz,
    scheduled_end   timestamptz,
    repeat_of       uuid,
    reopen_count    integer NOT NULL DEFAULT 0,
    -- Failure coding, asked for at completion.
    found_failure_mode_id uuid,
    cause           text,
    remedy          text,
    outcome         text,
    status_reason   text,                      -- why on hold, why cancelled
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    completed_at    timestamptz,
    closed_at       timestamptz,
    external_system text,
    external_id     text,
    row_version     integer NOT NULL DEFAULT 1,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, number),
    CONSTRAINT ticket_origin_key UNIQUE (tenant_id, origin_key),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, case_id) REFERENCES case_file (tenant_id, id),
    FOREIGN KEY (tenant_id, occurrence_id) REFERENCES plan_occurrence (tenant_id, id),
    FOREIGN KEY (tenant_id, repeat_of) REFERENCES ticket (tenant_id, id)
);
CREATE UNIQUE INDEX ticket_open_per_case_key ON ticket (case_id)
    WHERE case_id IS NOT NULL AND status NOT IN ('completed', 'closed', 'cancelled');
CREATE INDEX ticket_case_idx ON ticket (case_id) WHERE case_id IS NOT NULL;
CREATE INDEX ticket_asset_idx ON ticket (tenant_id, asset_id, created_at DESC);
ALTER TABLE plan_occurrence ADD FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id);
ALTER TABLE prediction ADD FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id);

-- Where the tenant's ticket numbers stand. A row lock, not a sequence: no holes, and one tenant
-- can't read another's volume from its own numbers.
CREATE TABLE ticket_counter (
    tenant_id   uuid PRIMARY KEY REFERENCES tenant,
    last_number integer NOT NULL
);

CREATE TABLE ticket_task (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    ticket_id   uuid NOT NULL,
    position    integer NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('check', 'number', 'meter', 'photo', 'signature')),
    text        text NOT NULL,
    mandatory   boolean NOT NULL DEFAULT true,
    min_value   double precision,
    max_value   double precision,
    unit        text,
    result      jsonb,
    done_at     timestamptz,
    done_by     text,
    UNIQUE (ticket_id, position),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id)
);

CREATE TABLE ticket_event (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenant,
    ticket_id uuid NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    kind      text NOT NULL,            -- created, transitioned, evidence, comment, task_done, …
    actor     text NOT NULL,
    detail    jsonb NOT NULL DEFAULT '{}',
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id)
);
CREATE INDEX ticket_event_ticket_idx ON ticket_event (ticket_id, id);

CREATE TYPE dispatch_outcome AS ENUM (
    'created', 'attached', 'reopened', 'suppressed', 'cool_down', 'below_policy', 'asset_not_in_service'
);

-- Why a ticket was made, and why not. subject = alm_…, prd_… or occ_…; one decision per subject and outcome.
CREATE TABLE dispatch_decision (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    case_id    uuid,
    asset_id   uuid NOT NULL,
    subject    text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    outcome    dispatch_outcome NOT NULL,
    ticket_id  uuid,
    reason     text NOT NULL,
    facts      jsonb NOT NULL DEFAULT '{}',
    UNIQUE (tenant_id, subject, outcome),
    FOREIGN KEY (tenant_id, case_id) REFERENCES case_file (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id)
);
CREATE INDEX dispatch_decision_case_idx ON dispatch_decision (case_id) WHERE case_id IS NOT NULL;
CREATE INDEX dispatch_decision_asset_idx ON dispatch_decision (tenant_id, asset_id, at DESC);
