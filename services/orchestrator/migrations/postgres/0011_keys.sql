-- Keys that can be told apart, limited and ended. Keys from before stay as they are, and get an id.
ALTER TABLE api_keys ADD COLUMN id UUID;
ALTER TABLE api_keys ADD COLUMN name TEXT NOT NULL DEFAULT '';
-- Words with commas between them; empty means not limited.
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN expires_at BIGINT;
ALTER TABLE api_keys ADD COLUMN revoked_at BIGINT;
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;
UPDATE api_keys SET id = gen_random_uuid(), name = actor;
CREATE UNIQUE INDEX api_keys_by_id ON api_keys (tenant_id, id);
