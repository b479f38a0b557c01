SELECT step, source, fingerprint, failure_type, message, times, first_at, last_at, run_id
FROM flaky WHERE tenant_id = $1
ORDER BY last_at DESC, step, fingerprint LIMIT $2
