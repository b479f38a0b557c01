SELECT id, status FROM gates WHERE run_id = $1
