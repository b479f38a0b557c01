INSERT INTO pruning (run_id) VALUES ($1)
