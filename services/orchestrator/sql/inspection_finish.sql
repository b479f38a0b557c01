UPDATE tasks SET state = 'done', result = $1
WHERE id = $2 AND epoch = $3 AND state = 'leased' AND run_id IS NULL
