SELECT id, name, created_at FROM tenants WHERE (id > $1 OR $1 IS NULL) ORDER BY id LIMIT $2
