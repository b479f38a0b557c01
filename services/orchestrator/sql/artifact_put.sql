INSERT INTO artifacts (run_id, name, body) VALUES ($1, $2, $3)
ON CONFLICT (run_id, name) DO UPDATE SET body = excluded.body
