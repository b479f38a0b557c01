DELETE FROM tasks WHERE id = $1 AND epoch = $2
