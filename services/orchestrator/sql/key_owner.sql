SELECT tenant_id, role, actor FROM api_keys WHERE hash = $1
