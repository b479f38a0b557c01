UPDATE webhooks SET disabled_reason = $2 WHERE id = $1 AND disabled_reason = ''
