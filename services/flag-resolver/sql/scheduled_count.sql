SELECT count(*) FROM scheduled WHERE layer = $1 AND tenant = $2 AND run = $3
