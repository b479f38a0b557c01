SELECT url FROM webhooks WHERE id = $1 AND disabled_reason = ''
