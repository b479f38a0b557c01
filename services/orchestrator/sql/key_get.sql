SELECT hash, tenant_id, id, name, role, scopes, actor, created_at, expires_at, last_used_at, revoked_at FROM api_keys WHERE tenant_id = $1 AND id = $2
