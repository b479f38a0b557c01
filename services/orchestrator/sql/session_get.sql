SELECT k.tenant_id, k.role, k.actor, s.created_at, s.idle_until, s.ends_at
FROM sessions s
JOIN api_keys k ON k.hash = s.key_hash AND k.tenant_id = s.tenant_id
WHERE s.hash = $1 AND s.idle_until > $2
