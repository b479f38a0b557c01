-- Who somebody is whom a provider signed in, as JSON; empty for sessions that belong to a key.
ALTER TABLE sessions ADD COLUMN identity TEXT NOT NULL DEFAULT '';
