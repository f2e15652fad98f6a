-- Who can do work, and what has to be true before it starts: skills, shifts, qualifications, permits,
-- locks. models::ticket::Facts is gathered from these tables; a tenant that keeps no rows in one of
-- them doesn't use that gate.

CREATE TYPE technician_skill AS ENUM ('electricity', 'hvac', 'plumbing', 'general', 'iot_install');
CREATE TYPE shift_kind AS ENUM ('working', 'day_off', 'sick_leave', 'vacation');

-- A member who does work. Once a tenant has one, only technicians can be assigned.
CREATE TABLE technician (
    tenant_id     uuid NOT NULL,
    user_id       uuid NOT NULL,
    skills        technician_skill[] NOT NULL DEFAULT '{}',
    home_site_id  uuid,                          -- NULL = at home everywhere
    floating      boolean NOT NULL DEFAULT false, -- of the pool: lent to other sites, asked after their own people
    active        boolean NOT NULL DEFAULT true,
    row_version   integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, user_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES membership (tenant_id, user_id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, home_site_id) REFERENCES site (tenant_id, id)
);

-- Moments, not clock times: a night shift over a change of the clocks is as long as it is.
CREATE TABLE technician_shift (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL,
    user_id    uuid NOT NULL,
    kind       shift_kind NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    note       text,
    created_by text NOT NULL,
    CONSTRAINT technician_shift_runs_forward CHECK (starts_at < ends_at),
    UNIQUE (tenant_id, user_id, kind, starts_at),
    FOREIGN KEY (tenant_id, user_id) REFERENCES technician (tenant_id, user_id) ON DELETE CASCADE
);
CREATE INDEX technician_shift_time_idx ON technician_shift (tenant_id, user_id, ends_at);

CREATE TYPE qualification_kind AS ENUM ('certification', 'training');
CREATE TYPE qualification_status AS ENUM ('assigned', 'in_progress', 'passed', 'failed');

-- A licence or a passed training. valid_until NULL = for good.
CREATE TABLE qualification (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    user_id     uuid NOT NULL,
    kind        qualification_kind NOT NULL,
    code        text NOT NULL,
    status      qualification_status NOT NULL DEFAULT 'passed',
    valid_from  timestamptz NOT NULL,
    valid_until timestamptz,
    reference   text,                            -- number of the certificate
    CONSTRAINT qualification_runs_forward CHECK (valid_until IS NULL OR valid_from < valid_until),
    UNIQUE (tenant_id, user_id, kind, code),
    FOREIGN KEY (tenant_id, user_id) REFERENCES technician (tenant_id, user_id) ON DELETE CASCADE
);

-- What work on an asset, a class of them, or a failure mode asks for. Rows add up; none takes away.
CREATE TABLE work_requirement (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    asset_id        uuid,
    class_id        uuid,
    failure_mode_id uuid,
    skill           technician_skill,
    qualification   text,
    permit          boolean NOT NULL DEFAULT false,
    lockout         boolean NOT NULL DEFAULT false,
    CONSTRAINT work_requirement_one_scope CHECK (num_nonnulls(asset_id, class_id, failure_mode_id) = 1),
    CONSTRAINT work_requirement_asks CHECK (skill IS NOT NULL OR qualification IS NOT NULL OR permit OR lockout),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, class_id) REFERENCES asset_class (tenant_id, id),
    FOREIGN KEY (tenant_id, failure_mode_id) REFERENCES failure_mode (tenant_id, id)
);
CREATE INDEX work_requirement_tenant_idx ON work_requirement (tenant_id);

ALTER TABLE ticket
    ADD COLUMN needs_permit   boolean NOT NULL DEFAULT false,
    ADD COLUMN needs_lockout  boolean NOT NULL DEFAULT false,
    ADD COLUMN required_skill technician_skill;

CREATE TYPE risk_level AS ENUM ('low', 'medium', 'high', 'extreme');

-- 5 x 5: rows = likelihood 1 to 5, columns = consequence 1 to 5. bounds = the four probabilities that
-- part the likelihoods, so that a predicted probability finds its row.
CREATE TABLE risk_matrix (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    name       text NOT NULL,
    bounds     double precision[] NOT NULL CHECK (cardinality(bounds) = 4),
    levels     risk_level[] NOT NULL CHECK (cardinality(levels) = 25),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
);

CREATE TYPE permit_status AS ENUM ('requested', 'approved', 'rejected', 'revoked', 'closed');

CREATE TABLE work_permit (
    id               uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL REFERENCES tenant,
    ticket_id        uuid NOT NULL,
    matrix_id        uuid,                       -- NULL = the built-in matrix
    status           permit_status NOT NULL,
    work             text NOT NULL,              -- 'hot work', 'work at height', …
    hazards          text NOT NULL,
    precautions      text NOT NULL,
    likelihood       smallint NOT NULL CHECK (likelihood BETWEEN 1 AND 5),
    consequence      smallint NOT NULL CHECK (consequence BETWEEN 1 AND 5),
    probability      double precision CHECK (probability BETWEEN 0 AND 1), -- the prediction that likelihood came from
    risk             risk_level NOT NULL,
    valid_from       timestamptz NOT NULL,
    valid_until      timestamptz NOT NULL,
    requested_by     text NOT NULL,
    requested_at     timestamptz NOT NULL DEFAULT now(),
    decided_by       text,
    decided_at       timestamptz,
    signature        text,                       -- name as the approver wrote it
    reason           text,
    row_version      integer NOT NULL DEFAULT 1,
    CONSTRAINT work_permit_runs_forward CHECK (valid_from < valid_until),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id),
    FOREIGN KEY (tenant_id, matrix_id) REFERENCES risk_matrix (tenant_id, id)
);
CREATE INDEX work_permit_ticket_idx ON work_permit (ticket_id);

-- Where an asset is isolated from its energies. points: [{"point": "Q1", "energy": "400 V", "action": "open and lock"}].
CREATE TABLE loto_procedure (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    asset_id    uuid NOT NULL,
    name        text NOT NULL,
    points      jsonb NOT NULL,
    enabled     boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (asset_id, name),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id)
);

-- A file that belongs to a ticket. Its content lies in the store under its SHA-256.
CREATE TABLE attachment (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    ticket_id  uuid NOT NULL,
    task_id    uuid,
    name       text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes > 0),
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id),
    UNIQUE (ticket_id, sha256, name),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id)
);
CREATE INDEX attachment_content_idx ON attachment (tenant_id, sha256);

-- A lock that hangs on a point of an asset. One point holds one lock of a ticket at a time.
CREATE TABLE loto_lock (
    id               uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL REFERENCES tenant,
    ticket_id        uuid NOT NULL,
    asset_id         uuid NOT NULL,
    procedure_id     uuid NOT NULL,
    point            text NOT NULL,
    tag              text NOT NULL,              -- number on the tag
    applied_by       text NOT NULL,
    applied_at       timestamptz NOT NULL,
    photo_id         uuid NOT NULL,
    removed_by       text,
    removed_at       timestamptz,
    removed_photo_id uuid,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, procedure_id) REFERENCES loto_procedure (tenant_id, id),
    FOREIGN KEY (tenant_id, photo_id) REFERENCES attachment (tenant_id, id),
    FOREIGN KEY (tenant_id, removed_photo_id) REFERENCES attachment (tenant_id, id)
);
CREATE UNIQUE INDEX loto_lock_point_key ON loto_lock (ticket_id, procedure_id, point) WHERE removed_at IS NULL;
-- What hangs on an asset now.
CREATE INDEX loto_lock_asset_idx ON loto_lock (tenant_id, asset_id) WHERE removed_at IS NULL;

CALL protect_tenant_tables();

DO $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT * FROM (VALUES
            ('technician', 'home_site_id IS NULL OR floating OR home_site_id = (SELECT current_site())'),
            ('technician_shift', 'user_id IN (SELECT user_id FROM technician)'),
            ('qualification', 'user_id IN (SELECT user_id FROM technician)'),
            ('work_requirement', 'asset_id IS NULL OR asset_id IN (SELECT id FROM asset)'),
            ('work_permit', 'ticket_id IN (SELECT id FROM ticket)'),
            ('loto_procedure', 'asset_id IN (SELECT id FROM asset)'),
            ('attachment', 'ticket_id IN (SELECT id FROM ticket)'),
            ('loto_lock', 'asset_id IN (SELECT id FROM asset)')
        ) AS v (name, inside)
    LOOP
        EXECUTE format('CREATE POLICY site_only ON %I AS RESTRICTIVE TO forewarn_api
                        USING ((SELECT current_site()) IS NULL OR %s)', t.name, t.inside);
    END LOOP;
END
$$;

GRANT SELECT ON technician, technician_shift, qualification, work_requirement, risk_matrix, work_permit, loto_procedure,
    attachment, loto_lock TO forewarn_api, forewarn_analytics;
GRANT INSERT, UPDATE ON technician, qualification, work_permit, loto_lock TO forewarn_api;
GRANT INSERT ON technician_shift, work_requirement, risk_matrix, loto_procedure, attachment TO forewarn_api;
GRANT UPDATE ON loto_procedure, technician_shift TO forewarn_api;
GRANT DELETE ON technician_shift, work_requirement TO forewarn_api;
