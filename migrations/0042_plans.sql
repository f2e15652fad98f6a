-- Plans: seasons and holidays, nesting, and what they do with predictions of their failure mode.

CREATE TYPE plan_on_prediction AS ENUM ('ignore', 'merge', 'pull');

ALTER TABLE maintenance_plan
    -- models::plan::Calendar
    ADD COLUMN calendar jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN on_prediction plan_on_prediction NOT NULL DEFAULT 'merge',
    -- The plan whose work includes this one's, when both fall within absorb_days of each other.
    ADD COLUMN parent_id uuid,
    ADD COLUMN absorb_days integer NOT NULL DEFAULT 7 CHECK (absorb_days BETWEEN 0 AND 366),
    ADD CHECK (parent_id <> id),
    ADD FOREIGN KEY (tenant_id, parent_id) REFERENCES maintenance_plan (tenant_id, id);
CREATE INDEX maintenance_plan_parent_idx ON maintenance_plan (parent_id) WHERE parent_id IS NOT NULL;

ALTER TABLE plan_occurrence DROP CONSTRAINT plan_occurrence_trigger_check;
ALTER TABLE plan_occurrence
    ADD CONSTRAINT plan_occurrence_trigger_check
        CHECK (trigger IN ('calendar', 'meter', 'all', 'prediction', 'early')),
    -- Recorded as skipped, because the parent plan's work includes it; that occurrence once it exists.
    ADD COLUMN absorbed boolean NOT NULL DEFAULT false,
    ADD COLUMN absorbed_by uuid,
    ADD FOREIGN KEY (tenant_id, absorbed_by) REFERENCES plan_occurrence (tenant_id, id);
CREATE INDEX plan_occurrence_ticket_idx ON plan_occurrence (ticket_id) WHERE ticket_id IS NOT NULL;
CREATE INDEX plan_occurrence_absorbed_idx ON plan_occurrence (plan_id) WHERE absorbed;
