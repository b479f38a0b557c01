SELECT body FROM plans WHERE tenant_id = $1 AND spec_id = $2 AND replanned = 0
ORDER BY version DESC LIMIT 1
