-- What became of predictions.

-- A snoozed one may also wait for the next time that its asset stands still.
ALTER TABLE prediction ADD COLUMN snooze_shutdown boolean NOT NULL DEFAULT false;
-- The probability it was published with: what calibration is judged by. peak_probability and
-- probability move with every new score.
ALTER TABLE prediction ADD COLUMN published_probability double precision CHECK (published_probability BETWEEN 0 AND 1);
UPDATE prediction p SET published_probability = coalesce(
    (SELECT (e.detail->>'probability')::float8 FROM prediction_event e
     WHERE e.prediction_id = p.id AND e.kind = 'published' ORDER BY e.id LIMIT 1), p.probability);
-- When the asset failed, if it did; with opened_at the lead time.
ALTER TABLE prediction ADD COLUMN failed_at timestamptz;
ALTER TABLE prediction ADD COLUMN label_note text;
CREATE INDEX prediction_ticket_idx ON prediction (ticket_id) WHERE ticket_id IS NOT NULL;

-- Failures are compared with the predictions of their time once.
ALTER TABLE failure_report ADD COLUMN reconciled_at timestamptz;
CREATE INDEX failure_report_unreconciled_idx ON failure_report (failed_at) WHERE reconciled_at IS NULL;
