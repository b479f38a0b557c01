INSERT INTO layers (layer, tenant, run, document, version)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (layer, tenant, run) DO UPDATE SET
    document = excluded.document,
    version = excluded.version
