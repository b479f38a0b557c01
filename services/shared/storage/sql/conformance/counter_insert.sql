INSERT INTO counters (name, n) VALUES ($1, $2)
