SELECT result FROM tasks WHERE id = $1 AND state = 'done'
