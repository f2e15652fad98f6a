-- Meters: what a person read off is kept as it was read, so that a late, corrected or voided reading
-- lets everything after it be computed again; and channels that count events.

ALTER TYPE meter_source ADD VALUE 'pulse';  -- each value is a number of events since the one before
ALTER TYPE meter_source ADD VALUE 'edges';  -- each rise to running_above is one event

ALTER TABLE meter
    ADD CONSTRAINT meter_edges_check CHECK (source::text <> 'edges' OR running_above IS NOT NULL),
    -- The total before the first reading.
    ADD COLUMN start_total double precision NOT NULL DEFAULT 0,
    -- models::meter::Recount: where the count stood some hours ago and how many readings it has taken
    -- since, so that readings which arrive out of order are found and counted.
    ADD COLUMN recount jsonb,
    ADD COLUMN recounted_at timestamptz;
UPDATE meter m SET start_total = coalesce(
    (SELECT r.total - r.delta FROM meter_reading r WHERE r.meter_id = m.id ORDER BY r.at LIMIT 1), m.total);

ALTER TABLE meter_reading
    ADD COLUMN kind text NOT NULL DEFAULT 'counted' CHECK (kind IN ('counted', 'absolute', 'delta', 'exchange')),
    -- What was entered: the dial, the difference, or the old meter's last dial and the new one's first.
    ADD COLUMN raw double precision,
    ADD COLUMN raw_new double precision,
    ADD CHECK (kind = 'counted' OR raw IS NOT NULL),
    ADD CHECK (kind <> 'exchange' OR raw_new IS NOT NULL);
UPDATE meter_reading SET kind = 'absolute', raw = total WHERE entered_by <> 'analytics';
