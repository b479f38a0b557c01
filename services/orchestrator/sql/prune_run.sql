DELETE FROM runs WHERE id = $1 AND finished_at < $2
