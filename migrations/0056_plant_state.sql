-- Alarms that the plant's state has silenced and that nobody has closed: the dispatcher asks for them in each
-- pass, so that a suppression ends with its cause even when the condition has ended before.
CREATE INDEX alarm_by_plant_idx ON alarm (id)
    WHERE suppression IN ('by_design', 'out_of_service') AND closed_at IS NULL;

-- Why an asset is out of service, NULL when it isn't: it, or what it is part of (however far up), is in storage or
-- disposed of. Under the caller's own rights.
CREATE FUNCTION out_of_service(asset_id uuid) RETURNS text
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE up AS (
        SELECT s.name, s.status, s.parent_id, 0 AS height FROM asset s WHERE s.id = asset_id
        UNION ALL
        SELECT p.name, p.status, p.parent_id, height + 1 FROM asset p JOIN up ON p.id = up.parent_id
        WHERE height < 16)
    SELECT name || CASE status WHEN 'in_storage' THEN ' is in storage' ELSE ' has been disposed of' END
                || CASE WHEN height > 0 THEN ' (this asset is part of it)' ELSE '' END
    FROM up WHERE status IN ('in_storage', 'disposed') ORDER BY height LIMIT 1
$$;
