-- The version, and when the next scheduled change is due.
SELECT version, (SELECT min(effective_at) FROM scheduled) AS next_due
FROM snapshot
WHERE only_row = 1
