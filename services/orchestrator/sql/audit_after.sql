SELECT seq, at, action, denied, actor, credential, home, object, before, after, reason, request_id, trace_id, prev_hash, hash
FROM audit WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3
