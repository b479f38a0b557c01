UPDATE tasks SET state = 'ready', owner = '', lease_until = 0, due_at = $1
WHERE id = $2 AND epoch = $3 AND state = 'leased' AND run_id IS NULL
