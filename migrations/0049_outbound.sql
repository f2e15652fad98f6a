-- What leaves: webhooks and messages to people. The outbox is the source of both.

CREATE TABLE webhook (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL REFERENCES tenant,
    name            text NOT NULL,
    url             text NOT NULL,
    kinds           text[] NOT NULL,             -- 'ticket.*', 'alarm.raised'; '*' = all
    cloud_events    boolean NOT NULL DEFAULT false,
    -- Signing keys as they are given to the receiver (whsec_…). The old one signs beside the new until
    -- previous_until, so that a receiver can change over.
    secret          text NOT NULL,
    previous_secret text,
    previous_until  timestamptz,
    enabled         boolean NOT NULL DEFAULT true,
    disabled_reason text,
    failing_since   timestamptz,
    -- The last row of the outbox that was looked at for it.
    after_id        bigint NOT NULL,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    row_version     integer NOT NULL DEFAULT 1,
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id)
);

CREATE TYPE delivery_status AS ENUM ('pending', 'delivered', 'failed');

-- One event for one receiver. id is the webhook-id: the same for every attempt and every replay.
CREATE TABLE webhook_delivery (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL REFERENCES tenant,
    webhook_id   uuid NOT NULL,
    event_id     bigint NOT NULL,                -- the outbox row
    kind         text NOT NULL,
    payload      jsonb NOT NULL,
    status       delivery_status NOT NULL DEFAULT 'pending',
    attempts     integer NOT NULL DEFAULT 0,
    next_at      timestamptz,                    -- NULL = no more by itself
    created_at   timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    UNIQUE (webhook_id, event_id),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhook (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_delivery_due_idx ON webhook_delivery (tenant_id, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_delivery_log_idx ON webhook_delivery (webhook_id, created_at DESC, id DESC);

CREATE TABLE webhook_attempt (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   uuid NOT NULL,
    delivery_id uuid NOT NULL,
    at          timestamptz NOT NULL,
    status_code integer,
    error       text,
    duration_ms integer NOT NULL,
    FOREIGN KEY (tenant_id, delivery_id) REFERENCES webhook_delivery (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX webhook_attempt_delivery_idx ON webhook_attempt (delivery_id, id);

-- Who hears of what, and when not.
CREATE TABLE notification_rule (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL REFERENCES tenant,
    name           text NOT NULL,
    role           member_role,                  -- every member of the role …
    user_id        uuid,                         -- … or one person
    channel        text NOT NULL CHECK (channel IN ('email', 'webhook')),
    webhook_url    text,
    webhook_secret text,
    kinds          text[] NOT NULL,
    min_severity   severity NOT NULL DEFAULT 'info',
    quiet_from     text,                         -- '22:00', on the clocks of time_zone
    quiet_to       text,
    -- From this severity on quiet hours and digests don't hold it back.
    break_through  severity NOT NULL DEFAULT 'critical',
    digest_minutes integer NOT NULL DEFAULT 0 CHECK (digest_minutes BETWEEN 0 AND 1440),
    time_zone      text NOT NULL,
    enabled        boolean NOT NULL DEFAULT true,
    after_id       bigint NOT NULL,
    created_by     text NOT NULL,
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, id),
    CONSTRAINT notification_rule_one CHECK (num_nonnulls(role, user_id) = 1),
    CONSTRAINT notification_rule_quiet CHECK ((quiet_from IS NULL) = (quiet_to IS NULL)),
    CONSTRAINT notification_rule_url CHECK ((channel = 'webhook') = (webhook_url IS NOT NULL)),
    FOREIGN KEY (tenant_id, user_id) REFERENCES membership (tenant_id, user_id) ON DELETE CASCADE
);

-- One line for one recipient. Lines that are due together leave as one message.
CREATE TABLE notification (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    rule_id    uuid NOT NULL,
    event_id   bigint NOT NULL,
    user_id    uuid NOT NULL,
    recipient  text NOT NULL,                    -- address of the time it was made
    severity   severity NOT NULL,
    line       text NOT NULL,
    held_for   text,                             -- why not at once: quiet hours, digest
    due_at     timestamptz NOT NULL,
    attempts   integer NOT NULL DEFAULT 0,
    sent_at    timestamptz,
    failed_at  timestamptz,
    error      text,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (rule_id, event_id, user_id),
    FOREIGN KEY (tenant_id, rule_id) REFERENCES notification_rule (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX notification_due_idx ON notification (tenant_id, due_at) WHERE sent_at IS NULL AND failed_at IS NULL;

-- An alert of another system (Alertmanager's webhook, version 4), by its fingerprint.
CREATE TABLE external_alert (
    tenant_id   uuid NOT NULL REFERENCES tenant,
    source      text NOT NULL,
    fingerprint text NOT NULL,
    asset_id    uuid NOT NULL,
    name        text NOT NULL,
    severity    severity NOT NULL,
    summary     text NOT NULL,
    labels      jsonb NOT NULL,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz,                     -- NULL = firing
    case_id     uuid,
    ticket_id   uuid,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, source, fingerprint, starts_at),
    FOREIGN KEY (tenant_id, asset_id) REFERENCES asset (tenant_id, id),
    FOREIGN KEY (tenant_id, case_id) REFERENCES case_file (tenant_id, id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES ticket (tenant_id, id)
);

CALL protect_tenant_tables();
-- The whole tenant's business, except what hangs on an asset.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['webhook', 'webhook_delivery', 'webhook_attempt', 'notification_rule', 'notification'] LOOP
        EXECUTE format('CREATE POLICY site_only ON %I AS RESTRICTIVE TO forewarn_api
                        USING ((SELECT current_site()) IS NULL)', t);
    END LOOP;
END
$$;
CREATE POLICY site_only ON external_alert AS RESTRICTIVE TO forewarn_api
    USING ((SELECT current_site()) IS NULL OR asset_id IN (SELECT id FROM asset));

GRANT SELECT, INSERT, UPDATE, DELETE ON webhook, notification_rule TO forewarn_api;
GRANT SELECT, INSERT, UPDATE ON webhook_delivery, notification, external_alert TO forewarn_api;
GRANT SELECT, INSERT ON webhook_attempt TO forewarn_api;
-- Old rows of the outbox, of deliveries and of messages go (api::outbound).
GRANT DELETE ON outbox, webhook_delivery, notification TO forewarn_api;
