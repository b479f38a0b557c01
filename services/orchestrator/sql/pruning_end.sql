DELETE FROM pruning WHERE run_id = $1
