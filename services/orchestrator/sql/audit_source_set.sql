UPDATE audit_sources SET seq = $3 WHERE source = $1 AND seq = $2
