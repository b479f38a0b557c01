UPDATE snapshot SET version = version + 1 WHERE only = 1 RETURNING version
