SELECT body FROM plans WHERE tenant_id = $1 AND id = $2
