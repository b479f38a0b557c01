-- Keys that can be told apart, limited and ended. Keys from before stay as they are, and get an id.
ALTER TABLE api_keys ADD COLUMN id BLOB;
ALTER TABLE api_keys ADD COLUMN name TEXT NOT NULL DEFAULT '';
-- Words with commas between them; empty means not limited.
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
ALTER TABLE api_keys ADD COLUMN revoked_at INTEGER;
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
UPDATE api_keys SET id = randomblob(16), name = actor;
CREATE UNIQUE INDEX api_keys_by_id ON api_keys (tenant_id, id);
