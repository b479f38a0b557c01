SELECT key_hash, created_at, idle_until, ends_at, identity
FROM sessions
WHERE hash = $1 AND idle_until > $2
