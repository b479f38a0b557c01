INSERT INTO patches (tenant, fingerprint, patch_sha256, fixer, patch, approved, recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant, fingerprint, patch_sha256) DO UPDATE SET
    fixer = excluded.fixer,
    approved = CASE WHEN excluded.approved > patches.approved THEN excluded.approved ELSE patches.approved END,
    recorded_at = excluded.recorded_at
