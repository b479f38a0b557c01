SELECT id FROM runs WHERE finished_at < $1 ORDER BY finished_at LIMIT $2
