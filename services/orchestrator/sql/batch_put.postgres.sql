WITH put_runs AS (
    INSERT INTO runs (id, tenant_id, spec_id, status, seq, rev, body, body_seq,
                      request_id, created_at, finished_at)
    SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[],
                         $7::text[], $8::bigint[], $9::text[], $10::bigint[], $11::bigint[])
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, seq = excluded.seq,
        rev = CASE WHEN runs.rev = excluded.rev - 1 THEN excluded.rev END,
        finished_at = excluded.finished_at,
        body = CASE WHEN excluded.body_seq > 0 THEN excluded.body ELSE runs.body END,
        body_seq = CASE WHEN excluded.body_seq > 0 THEN excluded.body_seq ELSE runs.body_seq END
), put_events AS (
    INSERT INTO events (run_id, seq, type, step, at, body)
    SELECT * FROM UNNEST($12::uuid[], $13::bigint[], $14::text[], $15::text[], $16::bigint[],
                         $17::text[])
), delete_tasks AS (
    DELETE FROM tasks WHERE id = ANY ($18::uuid[])
), put_tasks AS (
    INSERT INTO tasks (id, tenant_id, run_id, kind, step, internal, sharing, due_at, state, owner,
                       epoch, lease_until, tries, priority, labels, avoid, payload, result)
    SELECT *, '' FROM UNNEST($19::uuid[], $20::uuid[], $21::uuid[], $22::text[], $23::text[],
                             $24::bigint[], $25::text[], $26::bigint[], $27::text[], $28::text[],
                             $29::bigint[], $30::bigint[], $31::bigint[], $32::bigint[],
                             $33::text[], $34::text[], $35::text[])
    ON CONFLICT (id) DO UPDATE SET sharing = excluded.sharing, due_at = excluded.due_at,
        state = excluded.state, owner = excluded.owner, epoch = excluded.epoch,
        tries = excluded.tries, priority = excluded.priority,
        lease_until = CASE WHEN excluded.epoch = tasks.epoch
            AND excluded.state IN ('leased', 'dropped')
            AND tasks.lease_until > excluded.lease_until
            THEN tasks.lease_until ELSE excluded.lease_until END
)
SELECT pg_notify($36, $37)
