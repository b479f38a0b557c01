SELECT body FROM specs WHERE tenant_id = $1 AND (id < $2 OR $2 IS NULL) ORDER BY id DESC LIMIT $3
