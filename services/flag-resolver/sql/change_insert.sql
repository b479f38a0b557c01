INSERT INTO changes (version, tenant, run, actor, changed_at, before_json, after_json)
VALUES ($1, $2, $3, $4, $5, $6, $7)
