SELECT fixer, patch, patch_sha256, approved
FROM patches
WHERE tenant = $1 AND fingerprint = $2
ORDER BY recorded_at DESC, patch_sha256
LIMIT $3
