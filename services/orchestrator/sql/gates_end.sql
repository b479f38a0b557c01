UPDATE gates SET status = 'expired' WHERE run_id = $1 AND status = 'pending'
