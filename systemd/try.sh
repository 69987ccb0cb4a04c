#!/usr/bin/env bash
# Boots a real systemd in a container, installs the units as systemd/README.md says, and sees whether they keep
# what they promise. Needs root, debootstrap and systemd-container (Debian), and a debug or release build.
#
#   systemd/try.sh [BINARY] [ROOT]     ROOT is made when it is not there, and kept for the next run
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${1:-target/release/openclaw-rating}
root=${2:-target/systemd-root}
suite=${SUITE:-bookworm}
port=8080
machine=openclaw-try-$$
outer=""
failed=0

say() { printf '\n== %s\n' "$*"; }
good() { printf 'ok      %s\n' "$*"; }
bad() { printf 'FAILED  %s\n' "$*"; failed=$((failed + 1)); }
expect() { if [ "$2" = "$3" ]; then good "$1"; else bad "$1: $2, not $3"; fi; }

# Runs a command in the container. The leader is the container's process 1.
inside() { nsenter -t "$leader" -m -u -i -n -p -C -- "$@"; }
status() { inside curl -s -m 20 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port$1" || true; }
property() { inside systemctl show -p "$1" --value openclaw-rating.service; }

make_root() {
    [ -x "$root/usr/lib/systemd/systemd" ] && return
    say "debootstrap $suite into $root"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,curl,procps "$suite" "$root"
}

install_units() {
    install -D -m 755 "$binary" "$root/usr/local/bin/openclaw-rating"
    install -D -m 644 -t "$root/etc/systemd/system" systemd/*.service systemd/*.socket
    install -D -m 644 systemd/openclaw-rating.sysusers "$root/usr/lib/sysusers.d/openclaw-rating.conf"
    install -D -m 644 systemd/openclaw-rating.tmpfiles "$root/usr/lib/tmpfiles.d/openclaw-rating.conf"
    mkdir -p "$root/etc/openclaw-rating" "$root/etc/systemd/system/multi-user.target.wants"
    rm -rf "$root/var/lib/openclaw-rating"
    cat >"$root/etc/openclaw-rating/openclaw-rating.toml" <<END
[server]
listen = ["127.0.0.1:$port", "unix:/run/openclaw-rating/check.sock"]
threads = 2
[table]
capacity = 100000
[state]
snapshot_interval = "1h"
[shutdown]
lame_duck = "200ms"
deadline = "5s"
[[policy]]
name = "slow"
rate = "1/day"
burst = 10
[[policy]]
name = "fast"
rate = "1000000/s"
burst = 1000000
END
    ln -sf ../openclaw-rating.service "$root/etc/systemd/system/multi-user.target.wants/"
}

boot() {
    local try
    # io_uring is not in the default list of calls that a container may make.
    systemd-nspawn --quiet --directory="$root" --machine="$machine" --boot --register=no --keep-unit \
        --private-network --system-call-filter='io_uring_setup io_uring_enter io_uring_register' \
        >"$root/../systemd-boot.log" 2>&1 </dev/null &
    outer=$!
    trap stop EXIT
    for try in $(seq 300); do
        leader=$(pgrep -P "$outer" | head -1 || true)
        [ -n "$leader" ] && inside systemctl is-system-running --wait >/dev/null 2>&1 && return
        [ -n "$leader" ] && [ "$try" -gt 20 ] && inside systemctl is-active -q multi-user.target 2>/dev/null && return
        kill -0 "$outer" 2>/dev/null || break
        sleep 0.2
    done
    cat "$root/../systemd-boot.log"
    bad 'the container does not boot'
    exit 1
}

stop() {
    [ -n "${leader:-}" ] && inside systemctl poweroff 2>/dev/null || true
    for _ in $(seq 50); do kill -0 "$outer" 2>/dev/null || return 0; sleep 0.2; done
    kill -KILL "$outer" 2>/dev/null || true
}

# Waits until a property has a value.
until_is() { # PROPERTY VALUE
    for _ in $(seq 150); do [ "$(property "$1")" = "$2" ] && return; sleep 0.1; done
    return 1
}

try_start() {
    say 'start'
    if ! until_is ActiveState active; then
        inside journalctl --no-pager -u openclaw-rating | tail -20
        bad 'the service does not start'
        exit 1
    fi
    expect 'health over TCP' "$(status /health)" 200
    expect 'health on the Unix socket' "$(inside curl -s -o /dev/null -w '%{http_code}' \
        --unix-socket /run/openclaw-rating/check.sock http://x/health)" 200
    sleep 6
    printf '        %s\n' "$(property StatusText)"
    expect 'user' "$(property User)" openclaw-rating
    expect 'descriptors kept: two a TCP address, the Unix socket, the table' "$(property NFileDescriptorStore)" 4
    expect 'warnings of systemd about the unit' \
        "$(inside journalctl --no-pager -b -u openclaw-rating _PID=1 -p warning -q | wc -l)" 0
}

try_reload() {
    say 'reload'
    sed -i 's/burst = 1000000$/burst = 999999/' "$root/etc/openclaw-rating/openclaw-rating.toml"
    inside systemctl reload openclaw-rating && good 'a good file is taken' || bad 'a good file is not taken'
    sleep 0.5
    local answer
    answer=$(inside curl -s "http://127.0.0.1:$port/v1/check/fast/new?cost=0")
    case $answer in *'"limit":999999'*) good 'the new limit is in force' ;; *) bad "still $answer" ;; esac
    printf 'nonsense' >"$root/etc/openclaw-rating/broken.toml"
    cp "$root/etc/openclaw-rating/openclaw-rating.toml" "$root/etc/openclaw-rating/good.toml"
    cp "$root/etc/openclaw-rating/broken.toml" "$root/etc/openclaw-rating/openclaw-rating.toml"
    if inside systemctl reload openclaw-rating 2>/dev/null; then bad 'a bad file is taken'; else good 'a bad file fails the reload'; fi
    cp "$root/etc/openclaw-rating/good.toml" "$root/etc/openclaw-rating/openclaw-rating.toml"
    expect 'it still serves' "$(status /health)" 200
}

# Connections one after the other for a time; prints how many were answered and how many were not.
clients='
import socket, sys, threading, time
end, lock, counts = time.time() + float(sys.argv[1]), threading.Lock(), [0, 0]
def ask():
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[2])), 20) as s:
            s.sendall(b"GET /v1/check/fast/k HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            return s.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False
def run():
    while time.time() < end:
        good = ask()
        with lock: counts[0 if good else 1] += 1
threads = [threading.Thread(target=run) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(*counts)
'

try_restart() {
    say 'systemctl restart under load'
    expect 'ten tokens are spent' "$(status '/v1/check/slow/k?cost=10')" 200
    nsenter -t "$leader" -n -- python3 -c "$clients" 6 "$port" >"$root/../systemd-clients.log" &
    local load=$! round
    for round in 1 2 3; do
        sleep 1
        inside systemctl restart openclaw-rating || bad "restart $round"
    done
    wait "$load"
    read -r answered lost <"$root/../systemd-clients.log"
    expect "of $answered connections, without an answer" "$lost" 0
    [ "$answered" -gt 500 ] || bad "only $answered connections"
    expect 'the bucket is still empty' "$(status /v1/check/slow/k)" 429
}

try_kill() {
    say 'kill -9'
    local before
    before=$(property NRestarts)
    inside systemctl kill -s KILL openclaw-rating
    for _ in $(seq 100); do [ "$(property NRestarts)" != "$before" ] && break; sleep 0.1; done
    until_is ActiveState active && good 'systemd starts it again' || bad 'it is not started again'
    expect 'the bucket is still empty, with no snapshot written in between' "$(status /v1/check/slow/k)" 429
}

try_watchdog() {
    say 'watchdog'
    local before
    before=$(property NRestarts)
    # A process that is stopped turns no data thread.
    inside systemctl kill -s STOP openclaw-rating
    for _ in $(seq 250); do [ "$(property NRestarts)" != "$before" ] && break; sleep 0.1; done
    [ "$(property NRestarts)" != "$before" ] && good 'a process that hangs is ended and started again' \
        || bad 'nobody noticed'
    until_is ActiveState active || bad 'it is not started again'
    expect 'the bucket is still empty' "$(status /v1/check/slow/k)" 429
}

try_wrong_configuration() {
    say 'a wrong configuration'
    local before
    before=$(property NRestarts)
    cp "$root/etc/openclaw-rating/broken.toml" "$root/etc/openclaw-rating/openclaw-rating.toml"
    inside systemctl restart openclaw-rating 2>/dev/null || true
    until_is ActiveState failed && good 'the service fails at once' || bad 'it does not fail'
    sleep 1
    [ "$(property NRestarts)" -le "$before" ] && good 'it is not tried again' || bad 'it is tried again'
    cp "$root/etc/openclaw-rating/good.toml" "$root/etc/openclaw-rating/openclaw-rating.toml"
    inside systemctl reset-failed openclaw-rating
}

try_sockets() {
    say 'socket units'
    inside systemctl stop openclaw-rating 2>/dev/null || true
    sed -i "s#unix:/run/openclaw-rating/check.sock#unix:/run/openclaw-rating.sock#" \
        "$root/etc/openclaw-rating/openclaw-rating.toml"
    inside systemctl start openclaw-rating.socket openclaw-rating-unix.socket
    expect 'the first connection starts it' "$(status /health)" 200
    expect 'the Unix socket answers' "$(inside curl -s -o /dev/null -w '%{http_code}' \
        --unix-socket /run/openclaw-rating.sock http://x/health)" 200
    expect 'only the table is kept besides' "$(property NFileDescriptorStore)" 1
    inside systemctl stop openclaw-rating.socket openclaw-rating-unix.socket openclaw-rating.service
    expect 'a stop is a clean end' "$(property Result)" success
}

make_root
install_units
boot
try_start
try_reload
try_restart
try_kill
try_watchdog
try_wrong_configuration
try_sockets
say "$failed failures"
[ "$failed" -eq 0 ]
