SELECT DISTINCT run_id FROM tasks
WHERE state IN ('leased', 'dropped') AND lease_until < $1 AND run_id IS NOT NULL
LIMIT 200
