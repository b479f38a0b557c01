INSERT INTO flaky (tenant_id, cache_key, step, fingerprint, source, failure_type, message, times,
                   first_at, last_at, run_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8, $9)
ON CONFLICT (tenant_id, cache_key, step, fingerprint) DO UPDATE
SET times = flaky.times + 1, last_at = excluded.last_at, run_id = excluded.run_id,
    message = excluded.message
