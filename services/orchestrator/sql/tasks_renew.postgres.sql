UPDATE tasks SET lease_until = $1
WHERE id = (
    SELECT id FROM tasks WHERE id = $2 AND epoch = $3 AND state = 'leased' FOR UPDATE SKIP LOCKED
)
