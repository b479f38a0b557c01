SELECT body FROM artifacts WHERE run_id = $1 AND name = $2
