SELECT DISTINCT step FROM flaky
WHERE tenant_id = $1 AND cache_key = $2 AND last_at >= $3 LIMIT 500
