SELECT seq FROM audit_sources WHERE source = $1
