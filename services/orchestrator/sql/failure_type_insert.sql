INSERT INTO run_failure_types (run_id, failure_type) VALUES ($1, $2) ON CONFLICT DO NOTHING
