# Keeps one PostgreSQL server in a folder of its own, by the orders on its standard input, and
# leaves nothing behind when that ends, also because the process that held it was killed.
# Arguments: the folder of the server's programs, the word "re-entered" after changing the user.
set -u
bin=$1
if [ "$(id -u)" -eq 0 ] && [ "${2-}" != re-entered ]; then
    # The server refuses to run as root; its package brings this user.
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- /bin/sh -c "$SCRIPT" sh "$bin" re-entered
fi
export LC_ALL=C
cd /
trap '' PIPE
dir=$(mktemp -d /tmp/mb-postgres-XXXXXX) || exit 1
clean() {
    "$bin/pg_ctl" stop -D "$dir/data" -m immediate -s >/dev/null 2>&1
    rm -rf "$dir"
}
trap clean EXIT
trap exit HUP INT TERM

failed() {
    echo "failed: $1: $(tail -n 5 "$dir/log" | tr '\n' ' ')"
    exit 1
}
start() {
    "$bin/pg_ctl" start -D "$dir/data" -l "$dir/log" -w -t 60 -s </dev/null >>"$dir/log" 2>&1
}

"$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync --no-instructions \
    </dev/null >"$dir/log" 2>&1 || failed initdb
cat >>"$dir/data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$dir'
max_connections = 400
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
fsync = $FSYNC
full_page_writes = $FSYNC
autovacuum = off
END
start || failed start
echo "ready $dir"

while read -r order; do
    case $order in
    start) start || failed start ;;
    stop) "$bin/pg_ctl" stop -D "$dir/data" -m fast -w -t 60 -s >>"$dir/log" 2>&1 || failed stop ;;
    kill) "$bin/pg_ctl" stop -D "$dir/data" -m immediate -w -t 60 -s >>"$dir/log" 2>&1 || failed kill ;;
    *) failed "order $order" ;;
    esac
    echo "done $order"
done
