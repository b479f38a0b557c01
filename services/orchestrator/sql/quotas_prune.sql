DELETE FROM quotas WHERE full_at <= $1
