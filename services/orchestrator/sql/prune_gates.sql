DELETE FROM gates WHERE run_id = $1
