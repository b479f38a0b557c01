-- With how deliveries go; the newest failure is that of the row that was tried last.
SELECT w.id, w.url, w.events, w.created_by, w.created_at, w.disabled_reason,
    (SELECT count(*) FROM outbox o WHERE o.webhook_id = w.id AND o.state <> 'dead') AS waiting,
    (SELECT count(*) FROM outbox o WHERE o.webhook_id = w.id AND o.state = 'dead') AS dead,
    coalesce((SELECT o.last_error FROM outbox o WHERE o.webhook_id = w.id AND o.last_error <> ''
        ORDER BY o.due_at DESC, o.run_id, o.seq LIMIT 1), '') AS last_error
FROM webhooks w
WHERE w.tenant_id = $1
ORDER BY w.id
