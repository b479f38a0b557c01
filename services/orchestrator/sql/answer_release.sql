DELETE FROM answers WHERE tenant_id = $1 AND slot = $2 AND holder = $3 AND state = 'working'
