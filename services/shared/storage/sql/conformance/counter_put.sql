INSERT INTO counters (name, n) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET n = excluded.n
