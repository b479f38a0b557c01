SELECT run_id FROM gates WHERE tenant_id = $1 AND id = $2
