DELETE FROM tasks WHERE run_id = $1
