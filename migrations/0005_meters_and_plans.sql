-- Usage and the work that follows from it.

CREATE TYPE meter_source AS ENUM ('manual', 'counter', 'running_state', 'integral');

-- Cumulative usage: hours, cycles, km, kWh.
-- source says how it moves: by hand; by a counter channel (absolute, with rollover); by the time
-- that a channel is at or above running_above; by the time integral of a channel (kW to kWh).
CREATE TABLE meter (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES tenant,
    asset_id       uuid NOT NULL,
    name           text NOT NULL,
    unit           text NOT NULL,          -- UCUM: h, kW.h, km, {cycle}
    source         meter_source NOT NULL,
    channel_id     integer REFERENCES channel,
    running_above  double precision,
    rollover_at    double precision CHECK (rollover_at > 0),
    max_rate_per_h double precision CHECK (max_rate_per_h > 0), -- plausibility
    -- Between two readings further apart than this nothing is counted: nobody knows what the machine did.
    max_gap_s      double precision NOT NULL DEFAULT 3600 CHECK (max_gap_s > 0),
    -- Where the calculation stands: total and the reading it has counted up to.
    total          double precision NOT NULL DEFAULT 0,
    counted_to     timestamptz,
    last_raw       double precision,
    row_version    integer NOT NULL DEFAULT 1,
    UNIQUE (asset_id, name),
    UNIQUE (tenant_id, id),
    CHECK (source = 'manual' OR channel_id IS NOT NULL),
    CHECK (source <> 'running_state' OR running_above IS NOT NULL),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id)
);

-- The meter's history, one row per step that analytics took or a person entered.
CREATE TABLE meter_reading (
    meter_id   uuid NOT NULL REFERENCES meter,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    at         timestamptz NOT NULL,
    total      double precision NOT NULL,
    delta      double precision NOT NULL,
    entered_by text NOT NULL,              -- 'analytics' or usr_…
    voided_at  timestamptz,
    note       text,
    PRIMARY KEY (meter_id, at)
);

CREATE TYPE plan_basis AS ENUM ('fixed', 'floating');
CREATE TYPE open_instance_policy AS ENUM ('skip', 'stack', 'supersede');

-- Recurring work. Calendar and meter triggers stand beside each other; any one that is due makes
-- the occurrence (all_of: every one).
CREATE TABLE maintenance_plan (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES tenant,
    asset_id       uuid NOT NULL,
    name           text NOT NULL,
    failure_mode_id uuid,
    enabled        boolean NOT NULL DEFAULT true,
    basis          plan_basis NOT NULL DEFAULT 'floating',
    all_of         boolean NOT NULL DEFAULT false,
    every_days     integer CHECK (every_days > 0),
    meter_id       uuid,
    every_units    double precision CHECK (every_units > 0),
    lead_days      integer NOT NULL DEFAULT 0 CHECK (lead_days >= 0),
    lead_units     double precision NOT NULL DEFAULT 0 CHECK (lead_units >= 0),
    open_instance  open_instance_policy NOT NULL DEFAULT 'skip',
    -- Where the next interval starts.
    anchor_date    date NOT NULL,
    anchor_units   double precision NOT NULL DEFAULT 0,
    next_sequence  integer NOT NULL DEFAULT 1,
    -- Floating plans: work done so near to its due day or count (percent of the interval) counts as
    -- done on it, so that a day early doesn't shift every later date.
    tolerance_pct  double precision NOT NULL DEFAULT 0 CHECK (tolerance_pct BETWEEN 0 AND 50),
    -- models::plan::Forecast: when the next occurrence will be due, and why. Written by analytics.
    forecast       jsonb,
    priority       text NOT NULL DEFAULT 'medium' CHECK (priority IN ('low', 'medium', 'high', 'critical')),
    tasks          jsonb NOT NULL DEFAULT '[]',
    row_version    integer NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (asset_id, name),
    UNIQUE (tenant_id, id),
    CHECK (every_days IS NOT NULL OR every_units IS NOT NULL),
    CHECK ((every_units IS NULL) = (meter_id IS NULL)),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, meter_id) REFERENCES meter (tenant_id, id),
    FOREIGN KEY (tenant_id, failure_mode_id) REFERENCES failure_mode (tenant_id, id)
);

CREATE TYPE occurrence_status AS ENUM ('due', 'ticketed', 'done', 'skipped', 'superseded');

-- One due instance. (plan, sequence) is the occurrence key: two schedulers or a replay can't make
-- the same one twice.
CREATE TABLE plan_occurrence (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL REFERENCES tenant,
    plan_id      uuid NOT NULL,
    sequence     integer NOT NULL,
    status       occurrence_status NOT NULL DEFAULT 'due',
    due_date     date NOT NULL,            -- in the site's zone
    due_units    double precision,
    trigger      text NOT NULL CHECK (trigger IN ('calendar', 'meter', 'all', 'prediction')),
    explanation  text NOT NULL,
    -- Occurrences that fell due while nobody was looking and that this one stands for.
    missed       integer NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    ticket_id    uuid,
    done_at      timestamptz,
    UNIQUE (plan_id, sequence),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, plan_id) REFERENCES maintenance_plan (tenant_id, id)
);
-- What the dispatcher has to turn into tickets.
CREATE INDEX plan_occurrence_due_idx ON plan_occurrence (created_at) WHERE status = 'due';
