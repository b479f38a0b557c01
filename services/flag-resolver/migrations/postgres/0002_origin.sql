-- By which credential and request something was changed; empty for what is older than this.
ALTER TABLE changes ADD COLUMN credential TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN home_tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
ALTER TABLE scheduled ADD COLUMN credential TEXT NOT NULL DEFAULT '';
ALTER TABLE scheduled ADD COLUMN home_tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE scheduled ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
