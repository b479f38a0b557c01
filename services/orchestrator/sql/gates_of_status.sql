SELECT run_id, id FROM gates WHERE tenant_id = $1 AND status = $2 ORDER BY created_at, id LIMIT 500
