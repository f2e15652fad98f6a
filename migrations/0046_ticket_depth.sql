-- What a ticket carries beside its state: steps of the tenant's workflow, relations, service levels.

-- A tenant's own steps under one of the twelve states. A mandatory one has to be done before the
-- ticket leaves that state forward. Steps only ever add to what is asked: the gates are code.
CREATE TABLE workflow_step (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    state       ticket_status NOT NULL,
    code        text NOT NULL,
    name        text NOT NULL,
    position    integer NOT NULL,
    role        member_role,                     -- NULL = whoever may write tickets
    mandatory   boolean NOT NULL DEFAULT true,
    enabled     boolean NOT NULL DEFAULT true,
    UNIQUE (tenant_id, state, code),
    UNIQUE (tenant_id, id),
    CONSTRAINT workflow_step_state CHECK (state NOT IN ('closed', 'cancelled'))
);

CREATE TABLE ticket_step (
    ticket_id uuid NOT NULL,
    step_id   uuid NOT NULL,
    tenant_id uuid NOT NULL,
    done_at   timestamptz NOT NULL,
    done_by   text NOT NULL,
    PRIMARY KEY (ticket_id, step_id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id),
    FOREIGN KEY (tenant_id, step_id) REFERENCES workflow_step (tenant_id, id)
);

CREATE TYPE ticket_relation_kind AS ENUM ('duplicate_of', 'blocked_by', 'split_from', 'repeat_of', 'related_to');

CREATE TABLE ticket_relation (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    ticket_id  uuid NOT NULL,
    kind       ticket_relation_kind NOT NULL,
    other_id   uuid NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ticket_relation_two CHECK (ticket_id <> other_id),
    UNIQUE (ticket_id, kind, other_id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id),
    FOREIGN KEY (tenant_id, other_id) REFERENCES ticket (tenant_id, id)
);
CREATE INDEX ticket_relation_other_idx ON ticket_relation (other_id);

-- Working hours of a site in its own zone. week: {"mon": [["06:00", "22:00"]], …}; no row = always.
CREATE TABLE site_calendar (
    site_id     uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    week        jsonb NOT NULL,
    holidays    date[] NOT NULL DEFAULT '{}',
    row_version integer NOT NULL DEFAULT 1,
    FOREIGN KEY (tenant_id, site_id) REFERENCES site (tenant_id, id)
);

-- How soon tickets of a priority must be answered (open to assigned) and their asset restored (open to
-- completed), seconds of the site's working time, or of all time.
CREATE TABLE sla_policy (
    tenant_id   uuid NOT NULL REFERENCES tenant,
    priority    ticket_priority NOT NULL,
    respond_s   double precision NOT NULL CHECK (respond_s > 0),
    restore_s   double precision NOT NULL CHECK (restore_s > 0),
    always      boolean NOT NULL DEFAULT false,
    -- Hold reasons that stop the clock; every other reason lets it run.
    pausing     text[] NOT NULL DEFAULT '{}',
    -- Told when a clock passes 80 and 100 %.
    escalate_to member_role,
    row_version integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, priority)
);

CREATE TYPE sla_clock AS ENUM ('respond', 'restore');

-- The clocks of a ticket. Everything here follows from the ticket's history and is computed again when
-- that, the policy or the calendar changes; only told (the last threshold that was announced) is state.
CREATE TABLE ticket_sla (
    ticket_id  uuid NOT NULL,
    clock      sla_clock NOT NULL,
    tenant_id  uuid NOT NULL,
    target_s   double precision NOT NULL,
    due_at     timestamptz,                      -- NULL = paused
    next_at    timestamptz,                      -- when the next threshold is reached; NULL = none any more
    stopped_at timestamptz,
    elapsed_s  double precision NOT NULL,        -- at computed_at
    computed_at timestamptz NOT NULL,
    told       smallint NOT NULL DEFAULT 0,      -- percent: 0, 50, 80, 100
    PRIMARY KEY (ticket_id, clock),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id)
);
CREATE INDEX ticket_sla_next_idx ON ticket_sla (tenant_id, next_at) WHERE next_at IS NOT NULL;

-- Times in which the clocks stood still.
CREATE TABLE ticket_pause (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    reason    text NOT NULL,
    from_at   timestamptz NOT NULL,
    to_at     timestamptz,
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id)
);
CREATE UNIQUE INDEX ticket_pause_open_key ON ticket_pause (ticket_id) WHERE to_at IS NULL;

ALTER TABLE ticket
    ADD COLUMN hold_code   text,                 -- waiting_parts, waiting_access, …: see models::ticket::HOLD_CODES
    ADD COLUMN assigned_at timestamptz;          -- first time; where the respond clock stops
ALTER TABLE ticket_task
    ADD COLUMN note     text,                    -- why a number outside its limits is good
    ADD COLUMN meter_id uuid,
    ADD FOREIGN KEY (tenant_id, meter_id) REFERENCES meter (tenant_id, id);

-- One ticket for each thing of another system.
CREATE UNIQUE INDEX ticket_external_key ON ticket (tenant_id, external_system, external_id)
    WHERE external_system IS NOT NULL AND external_id IS NOT NULL;

CALL protect_tenant_tables();
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT * FROM (VALUES
            ('ticket_step', 'ticket_id IN (SELECT id FROM ticket)'),
            ('ticket_relation', 'ticket_id IN (SELECT id FROM ticket) AND other_id IN (SELECT id FROM ticket)'),
            ('ticket_sla', 'ticket_id IN (SELECT id FROM ticket)'),
            ('ticket_pause', 'ticket_id IN (SELECT id FROM ticket)'),
            ('site_calendar', 'site_id = (SELECT current_site())')
        ) AS v (name, inside)
    LOOP
        EXECUTE format('CREATE POLICY site_only ON %I AS RESTRICTIVE TO forewarn_api
                        USING ((SELECT current_site()) IS NULL OR %s)', t.name, t.inside);
    END LOOP;
END
$$;

GRANT SELECT ON workflow_step, ticket_relation, site_calendar, sla_policy TO forewarn_api, forewarn_analytics;
GRANT SELECT, INSERT, UPDATE ON ticket_sla, ticket_pause TO forewarn_api, forewarn_analytics;
GRANT SELECT, INSERT, DELETE ON ticket_step TO forewarn_api, forewarn_analytics;
GRANT INSERT, UPDATE ON workflow_step, site_calendar, sla_policy TO forewarn_api;
GRANT INSERT, DELETE ON ticket_relation TO forewarn_api;
GRANT DELETE ON ticket_task TO forewarn_api;

-- Which tenants there are: the loops that act for each of them in turn (webhooks, mail, service levels)
-- ask before a tenant is known. Ids only.
CREATE FUNCTION tenant_ids() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT id FROM tenant ORDER BY id
$$;
REVOKE ALL ON FUNCTION tenant_ids() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenant_ids() TO forewarn_api;
