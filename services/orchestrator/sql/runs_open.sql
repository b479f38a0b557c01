SELECT status, count(*) FROM runs WHERE finished_at IS NULL GROUP BY status
