DELETE FROM patches WHERE tenant = $1 AND fingerprint = $2 AND patch_sha256 = $3
