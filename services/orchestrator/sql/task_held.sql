SELECT 1 FROM tasks WHERE id = $1 AND epoch = $2 AND state = 'leased'
