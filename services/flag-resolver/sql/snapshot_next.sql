UPDATE snapshot SET version = version + 1 WHERE only_row = 1 RETURNING version
