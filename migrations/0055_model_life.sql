-- The life of a model: what an assessment was computed from, who promoted which version when, and
-- whether what is measured today still looks like what a model was trained on.

-- With these a row can be computed again to the same bits, or it can be said what has changed since:
-- the facts of the register as the pass saw them, and digests of the window and of what was known of
-- the class. The readings themselves are where they were.
ALTER TABLE assessment ADD COLUMN failure_model_id uuid;    -- NULL = no model of the class's failures
ALTER TABLE assessment ADD COLUMN inputs jsonb;             -- {"facts":…,"window":"…","class":"…","step_s":…}

-- When it last became the champion. A rollback goes to the version that was so before.
ALTER TABLE model_version ADD COLUMN promoted_at timestamptz;
UPDATE model_version SET promoted_at = created_at WHERE status <> 'candidate';

-- What happened to a model: trained, promoted, rolled_back, retired, refused.
CREATE TABLE model_event (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenant,
    model_id   uuid NOT NULL REFERENCES model_version,
    at         timestamptz NOT NULL DEFAULT now(),
    kind       text NOT NULL CHECK (kind IN ('trained', 'promoted', 'rolled_back', 'retired', 'refused')),
    actor      text NOT NULL,
    detail     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX model_event_model_idx ON model_event (model_id, id);

-- One look at drift: the features of a class now against those its champion was trained on.
CREATE TABLE drift_report (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenant,
    class_id    uuid NOT NULL,
    model_id    uuid REFERENCES model_version,
    at          timestamptz NOT NULL DEFAULT now(),
    data_from   timestamptz NOT NULL,
    data_to     timestamptz NOT NULL,
    rows        bigint NOT NULL,
    retrain     boolean NOT NULL,          -- the proposal
    reasons     jsonb NOT NULL,            -- ["…"], for people
    features    jsonb NOT NULL,            -- [{"name","psi","ks"}], worst first
    figures     jsonb NOT NULL,            -- {"coverage80":…,"brier":…,"page_hinkley":…}
    FOREIGN KEY (tenant_id, class_id) REFERENCES asset_class (tenant_id, id)
);
CREATE INDEX drift_report_class_idx ON drift_report (class_id, at DESC);

CALL protect_tenant_tables();

-- Models are the whole tenant's business: members of one site see versions and cards, not these.
CREATE POLICY site_only ON model_event AS RESTRICTIVE TO forewarn_api USING ((SELECT current_site()) IS NULL);
CREATE POLICY site_only ON drift_report AS RESTRICTIVE TO forewarn_api USING ((SELECT current_site()) IS NULL);

GRANT SELECT, INSERT ON model_event, drift_report TO forewarn_analytics;
GRANT SELECT ON model_event, drift_report TO forewarn_api;
GRANT INSERT ON model_event TO forewarn_api;
-- People promote and roll back; nothing else of a version can change.
GRANT UPDATE (status, promoted_at) ON model_version TO forewarn_api;
CREATE POLICY tenant_changes ON model_version FOR UPDATE TO forewarn_api
    USING (tenant_id = (SELECT current_tenant()) AND (SELECT current_site()) IS NULL)
    WITH CHECK (tenant_id = (SELECT current_tenant()));
