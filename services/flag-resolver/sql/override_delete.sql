DELETE FROM overrides WHERE tenant = $1 AND run = $2
