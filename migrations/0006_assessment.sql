-- What analytics found out, each row with what it takes to compute it again.

-- A trained model is data: the envelope of models::artifact, written in the transaction that first
-- uses it. tenant_id NULL = built in.
CREATE TABLE model_version (
    id           uuid PRIMARY KEY,
    tenant_id    uuid REFERENCES tenant,
    name         text NOT NULL,            -- 'baseline', 'rul', 'failure_probability', …
    scope        text NOT NULL,            -- asset or class id the model belongs to
    version      integer NOT NULL CHECK (version > 0),
    status       text NOT NULL CHECK (status IN ('candidate', 'champion', 'retired')),
    artifact     jsonb NOT NULL,           -- parameters
    card         jsonb NOT NULL,           -- data window, features, figures, limits
    code_version text NOT NULL,
    trained_from timestamptz NOT NULL,
    trained_to   timestamptz NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (tenant_id, name, scope, version)
);
CREATE UNIQUE INDEX model_version_champion_key ON model_version (tenant_id, name, scope)
    NULLS NOT DISTINCT WHERE status = 'champion';

-- When an asset is to be assessed next, and by whom it is being assessed now.
CREATE TABLE assessment_schedule (
    asset_id     uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    due_at       timestamptz NOT NULL DEFAULT now(),
    last_at      timestamptz,
    failures     integer NOT NULL DEFAULT 0,   -- passes that ended in an error since the last good one
    last_error   text,
    -- Lease of the process that works on it. One that dies leaves it to the next when it has run out.
    claimed_by    uuid,
    claimed_until timestamptz,
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX assessment_schedule_due_idx ON assessment_schedule (due_at);

-- The features of one window, by name.
CREATE TABLE feature (
    window_end    timestamptz NOT NULL,
    tenant_id     uuid NOT NULL,
    asset_id      uuid NOT NULL,
    window_start  timestamptz NOT NULL,
    features      jsonb NOT NULL,          -- {"name": number or null}
    PRIMARY KEY (asset_id, window_end)
);
SELECT create_hypertable('feature', by_range('window_end', INTERVAL '30 days'), create_default_indexes => false);

-- One row per pass. health 0-100 (100 = as new) = 100 minus the penalties in factors, which add up
-- exactly. Probabilities of failing within 24 h, 7 d, 30 d each with a lower and an upper bound.
-- rul in hours. NULL = not known, and `notes` says why.
CREATE TABLE assessment (
    window_end      timestamptz NOT NULL,
    tenant_id       uuid NOT NULL,
    asset_id        uuid NOT NULL,
    model_version_id uuid NOT NULL,
    window_start    timestamptz NOT NULL,
    assessed_at     timestamptz NOT NULL DEFAULT now(),
    health          double precision NOT NULL CHECK (health BETWEEN 0 AND 100),
    anomaly         double precision,      -- 0 = like the baseline, 1 = at the alarm threshold
    coverage        double precision NOT NULL CHECK (coverage BETWEEN 0 AND 1),
    freshness_s     double precision NOT NULL,
    failure_mode_id uuid,                  -- the likeliest
    p_fail          jsonb NOT NULL DEFAULT '[]', -- [{"horizon_h":24,"p":…,"low":…,"high":…,"basis":"…"}]
    rul_p10_h       double precision,
    rul_p50_h       double precision,
    rul_p90_h       double precision,
    factors         jsonb NOT NULL,        -- [{"name","penalty","value","expected","channel_id","text"}]
    advice          jsonb NOT NULL DEFAULT '{}',
    notes           jsonb NOT NULL DEFAULT '[]',
    code_version    text NOT NULL,
    PRIMARY KEY (asset_id, window_end, model_version_id)
);
SELECT create_hypertable('assessment', by_range('window_end', INTERVAL '30 days'), create_default_indexes => false);

-- Thinning of old rows (analytics::retention).
GRANT DELETE ON feature, assessment TO forewarn_analytics;
