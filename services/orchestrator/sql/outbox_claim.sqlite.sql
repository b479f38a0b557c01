-- What is due, at most $4 rows of a webhook at a time, those that are being sent counted: a receiver
-- that is slow holds up nobody else.
UPDATE outbox SET state = 'sending', due_at = $2, tries = tries + 1
WHERE (webhook_id, run_id, seq) IN (
    SELECT webhook_id, run_id, seq FROM outbox
    WHERE state <> 'dead' AND due_at <= $1 AND (webhook_id, run_id, seq) IN (
        SELECT webhook_id, run_id, seq FROM (
            SELECT webhook_id, run_id, seq,
                row_number() OVER (PARTITION BY webhook_id ORDER BY due_at, run_id, seq) AS place
            FROM outbox WHERE state <> 'dead' AND due_at <= $1
        ) AS placed
        WHERE place <= $4 - (
            SELECT count(*) FROM outbox o
            WHERE o.webhook_id = placed.webhook_id AND o.state = 'sending' AND o.due_at > $1
        )
    )
    ORDER BY due_at, run_id, seq
    LIMIT $3
)
RETURNING webhook_id, run_id, seq, tenant_id, tries
