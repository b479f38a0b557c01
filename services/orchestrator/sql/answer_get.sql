SELECT request, state, status, location, body, sealed FROM answers WHERE tenant_id = $1 AND slot = $2
