SELECT id FROM runs WHERE tenant_id = $1 AND request_id = $2
