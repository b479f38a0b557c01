-- Who did what: a chain for each tenant, where each entry has the hash of the one before.
CREATE TABLE audit (
    tenant_id  UUID    NOT NULL,
    seq        BIGINT  NOT NULL,
    at         BIGINT  NOT NULL,
    action     TEXT    NOT NULL,
    denied     BIGINT  NOT NULL,
    actor      TEXT    NOT NULL,
    credential TEXT    NOT NULL,
    home       TEXT    NOT NULL,
    object     TEXT    NOT NULL,
    before     TEXT    NOT NULL,
    after      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    trace_id   TEXT    NOT NULL,
    prev_hash  BYTEA   NOT NULL,
    hash       BYTEA   NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);

-- The last entry of each chain.
CREATE TABLE audit_heads (
    tenant_id UUID   PRIMARY KEY NOT NULL,
    seq       BIGINT NOT NULL,
    hash      BYTEA  NOT NULL
);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only';
END $$;
CREATE FUNCTION audit_heads_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq <= OLD.seq OR NEW.tenant_id <> OLD.tenant_id THEN
        RAISE EXCEPTION 'the audit is append-only';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_heads_only_grow BEFORE UPDATE ON audit_heads
    FOR EACH ROW EXECUTE FUNCTION audit_heads_only_grow();
CREATE TRIGGER audit_heads_are_not_deleted BEFORE DELETE ON audit_heads
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_heads_are_not_emptied BEFORE TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
