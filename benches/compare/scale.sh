#!/usr/bin/env bash
# How the processor time of a check grows with the number of keys, and with connections that say nothing.
set -euo pipefail

rounds=5 seconds=5 most_keys=10000000 most_connections=10000 active=64
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
read_rounds "$@"

# Appends "label CPU-µs-a-check" of one run to the file.
measure() { # LABEL KEYS
    local before result
    before=$(cpu_ticks "${pid[ours]}")
    result=$(wrk_run 18080 "$active" "$seconds" "$here/load/checks.lua" get 1 "$2" random)
    awk -v label="$1" -v ticks=$(($(cpu_ticks "${pid[ours]}") - before)) -v hz="$ticks_per_second" '
        $5 > 0 { print "error: " $5 " answers were no success" > "/dev/stderr"; exit 1 }
        { printf "%s %.4f\n", label, ticks / hz * 1000000 / $1 }' <<<"$result" >>"$work/runs"
}

# Median and range by label, and the ratio to the first label within each round.
table() { # HEADING GOAL
    echo "| $1 | CPU µs/check | × the first |"
    echo '|---|---|---|'
    awk '{ print $1 }' "$work/runs" | awk '!seen[$0]++' | while read -r label; do
        awk -v label="$label" 'NR == 1 { first = $1 } $1 == first { base[++b] = $2 }
            $1 == label { v[++n] = $2 }
            END { for (i = 1; i <= n; i++) print v[i], v[i] / base[i] }' "$work/runs" >"$work/one"
        sort -g "$work/one" | awk -v label="$label" '{ v[NR] = $1 } END {
            printf "| %s | %.2f (%.2f–%.2f) |", label, v[int((NR + 1) / 2)], v[1], v[NR] }'
        sort -g -k 2 "$work/one" | awk '{ r[NR] = $2 } END { printf " %.2f |\n", r[int((NR + 1) / 2)] }'
    done
    echo "Goal: at most $2 times."
}

connections_open() {
    curl -s -m 5 http://127.0.0.1:18080/metrics | awk '/^openclaw_connections(_open)?[ {]/ { print int($NF); exit }'
}

by_keys() {
    local round keys
    start_ours --set table.capacity=12500000
    say "putting in $most_keys keys"
    wrk_run 18080 "$active" 60 "$here/load/checks.lua" get 16 "$most_keys" once >/dev/null
    grep distinct "$work/wrk.out" >&2
    : >"$work/runs"
    for round in $(seq "$rounds"); do
        for keys in 10000 100000 1000000 "$most_keys"; do
            say "round $round of $rounds: $keys keys"
            measure "$keys" "$keys"
        done
    done
    stop ours
    table keys 1.25
}

# Connections that ask once when they are open and then are as good as silent: each again after minutes.
hold_idle() { # CONNECTIONS
    taskset -c "$load_core" "$root/target/release/openclaw-rating" load http://127.0.0.1:18080 \
        --policy open --connections "$1" --rate 20 --duration 3600s --timeout 60s >"$work/idle.log" 2>&1 &
    pid[idle]=$!
    for _ in $(seq 150); do
        kill -0 "${pid[idle]}" 2>/dev/null || fail "the holder of idle connections ended: $(tail -3 "$work/idle.log")"
        [ "$(connections_open)" -lt "$1" ] || return 0
        sleep 0.2
    done
    fail "only $(connections_open) of $1 idle connections were accepted"
}

by_connections() {
    local round
    start_ours
    : >"$work/runs"
    for round in $(seq "$rounds"); do
        say "round $round of $rounds: $active connections"
        measure "$active" 10000
        hold_idle $((most_connections - active))
        say "round $round of $rounds: $most_connections connections"
        measure "$most_connections" 10000
        stop idle
        sleep 1
    done
    stop ours
    table connections 1.30
}

have wrk 'apt-get install wrk' && have curl 'apt-get install curl' || exit 1
ulimit -n 16384 2>/dev/null || fail "this needs 16384 open files; the limit is $(ulimit -n): raise it (ulimit -n, limits.conf)"
build_ours
by_keys
echo
by_connections
