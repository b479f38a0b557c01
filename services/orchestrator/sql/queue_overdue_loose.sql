UPDATE tasks SET state = 'ready', owner = '', lease_until = 0
WHERE state = 'leased' AND lease_until < $1 AND run_id IS NULL
RETURNING kind
