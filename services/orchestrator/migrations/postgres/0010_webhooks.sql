-- Who is told of a tenant's events. No secret is stored: it is derived from the signing key and the
-- id.
CREATE TABLE webhooks (
    tenant_id       UUID    NOT NULL,
    id              UUID    NOT NULL UNIQUE,
    url             TEXT    NOT NULL,
    events          TEXT    NOT NULL,
    created_by      TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    disabled_reason TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, id)
);

-- What they are still to be told: written with the event itself, removed when it was taken. A row
-- that is being sent is due again when its sender must have died.
CREATE TABLE outbox (
    webhook_id UUID    NOT NULL,
    run_id     UUID    NOT NULL,
    seq        BIGINT  NOT NULL,
    tenant_id  UUID    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('waiting', 'sending', 'dead')),
    due_at     BIGINT  NOT NULL,
    tries      BIGINT  NOT NULL DEFAULT 0,
    last_error TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (webhook_id, run_id, seq)
);

CREATE INDEX outbox_by_due ON outbox (state, due_at);
CREATE INDEX outbox_by_tenant ON outbox (tenant_id);
