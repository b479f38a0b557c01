UPDATE quotas SET full_at = CASE WHEN full_at > CAST($3 AS BIGINT) THEN CAST($3 AS BIGINT)
                                 ELSE full_at END
WHERE tenant_id = $1 AND action = $2
RETURNING full_at
