DELETE FROM artifacts WHERE run_id = $1
