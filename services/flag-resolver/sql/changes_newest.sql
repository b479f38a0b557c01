SELECT version, actor, changed_at, before_json, after_json
FROM changes
WHERE tenant = $1 AND run = $2
ORDER BY version DESC
LIMIT $3
