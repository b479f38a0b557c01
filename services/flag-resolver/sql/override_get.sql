SELECT document FROM overrides WHERE tenant = $1 AND run = $2
