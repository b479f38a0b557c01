INSERT INTO quotas (tenant_id, action, full_at)
VALUES ($1, $2, CAST($3 AS BIGINT) + CAST($4 AS BIGINT))
ON CONFLICT (tenant_id, action) DO UPDATE
SET full_at = CASE WHEN quotas.full_at > CAST($3 AS BIGINT) THEN quotas.full_at
                   ELSE CAST($3 AS BIGINT) END + CAST($4 AS BIGINT)
WHERE quotas.full_at + CAST($4 AS BIGINT) <= CAST($3 AS BIGINT) + CAST($5 AS BIGINT)
RETURNING full_at
