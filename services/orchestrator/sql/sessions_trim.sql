DELETE FROM sessions
WHERE key_hash = $1 AND hash NOT IN (
    SELECT hash FROM sessions WHERE key_hash = $1 ORDER BY created_at DESC, hash LIMIT $2
)
