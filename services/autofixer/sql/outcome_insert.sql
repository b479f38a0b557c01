INSERT INTO outcomes (
    tenant, record_key, fingerprint, failure_type, tool, fixer, outcome, patch_sha256, duration_ms, tokens, recorded_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (tenant, record_key) DO NOTHING
