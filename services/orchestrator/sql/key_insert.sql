INSERT INTO api_keys (hash, tenant_id, user_id, role, actor, created_at, id, name, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (hash) DO NOTHING
