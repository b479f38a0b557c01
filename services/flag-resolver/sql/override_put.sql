INSERT INTO overrides (tenant, run, document, version, author, set_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant, run) DO UPDATE SET
    document = excluded.document,
    version = excluded.version,
    author = excluded.author,
    set_at = excluded.set_at
