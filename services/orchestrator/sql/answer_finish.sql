UPDATE answers SET state = 'done', status = $4, location = $5, body = $6, sealed = $7
WHERE tenant_id = $1 AND slot = $2 AND holder = $3 AND state = 'working'
