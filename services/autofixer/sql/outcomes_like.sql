SELECT fingerprint, failure_type, tool, fixer, outcome, recorded_at
FROM outcomes
WHERE tenant = $1 AND (fingerprint = $2 OR (failure_type = $3 AND tool = $4))
ORDER BY recorded_at DESC, record_key DESC
LIMIT $5
