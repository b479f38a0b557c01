INSERT INTO sessions (hash, key_hash, tenant_id, created_at, idle_until, ends_at, identity)
VALUES ($1, $2, $3, $4, $5, $6, $7)
