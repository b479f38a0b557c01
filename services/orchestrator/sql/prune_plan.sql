DELETE FROM plans WHERE tenant_id = $1 AND id = $2 AND replanned = 1
