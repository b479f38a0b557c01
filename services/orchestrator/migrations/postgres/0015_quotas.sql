-- When a tenant's whole quota of an action is there again: all that GCRA has to know.
CREATE TABLE quotas (
    tenant_id UUID   NOT NULL,
    action    TEXT   NOT NULL,
    full_at   BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, action)
);
