SELECT body FROM specs WHERE tenant_id = $1 AND id = $2
