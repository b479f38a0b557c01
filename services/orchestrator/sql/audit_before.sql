SELECT seq, at, action, denied, actor, credential, home, object, before, after, reason, request_id, trace_id, prev_hash, hash
FROM audit WHERE tenant_id = $1 AND seq < $2 AND ($3 = '' OR action = $3 OR substr(action, 1, length($4)) = $4 AND $4 <> '')
ORDER BY seq DESC LIMIT $5
