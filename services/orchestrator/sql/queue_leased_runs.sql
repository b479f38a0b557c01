SELECT DISTINCT run_id FROM tasks
WHERE state IN ('leased', 'dropped') AND run_id IS NOT NULL AND (run_id = $1 OR $1 IS NULL)
