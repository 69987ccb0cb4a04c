#!/usr/bin/env bash
# Mixed load for MINUTES: allowed, denied, batches, mistakes, health, metrics, connections that come and
# go. Resident memory every 10 s. Fails when it grows after the warm-up, or on an unexpected answer.
set -euo pipefail

[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || { echo 'usage: benches/compare/soak.sh MINUTES' >&2; exit 2; }
minutes=$1 warm_up_seconds=60 growth_allowed_kib=1024 sample_seconds=10
kinds=(allowed denied batch mistakes health metrics churn)
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

start_load() { # SECONDS
    local kind connections
    for kind in "${kinds[@]}"; do
        connections=8
        [ "$kind" != metrics ] || connections=1
        taskset -c "$load_core" wrk -t1 -c"$connections" -d"$1s" --timeout 10s \
            -s "$here/load/mixed.lua" http://127.0.0.1:18080/ -- "$kind" >"$work/$kind.out" 2>&1 &
        pid[$kind]=$!
    done
}

# Prints resident memory as it goes; leaves what it was after the warm-up, and the most after that.
watch_memory() { # SECONDS
    local elapsed=0 now
    warm=0 most=0
    while [ "$elapsed" -lt "$1" ]; do
        sleep "$sample_seconds"
        elapsed=$((elapsed + sample_seconds))
        kill -0 "${pid[ours]}" 2>/dev/null || fail "the server ended: $(tail -3 "$work/ours.log")"
        now=$(resident_kib "${pid[ours]}")
        echo "$elapsed s: $now KiB"
        if [ "$elapsed" -le "$warm_up_seconds" ]; then warm=$now; fi
        if [ "$now" -gt "$most" ]; then most=$now; fi
    done
}

count_answers() {
    local kind
    errors=0
    for kind in "${kinds[@]}"; do
        wait "${pid[$kind]}" || errors=$((errors + 1))
        unset "pid[$kind]"
        echo "$kind: $(awk '/^answered/ { a = $2; u = $4 } /Socket errors:/ { gsub(",", ""); e = $4 + $6 + $8 + $10 }
            END { printf "%d answers, %d unexpected, %d socket errors", a, u, e }' "$work/$kind.out")"
        errors=$((errors + $(awk '/^answered/ { u = $4; seen = 1 }
            /Socket errors:/ { gsub(",", ""); e = $4 + $6 + $8 + $10 }
            END { print u + e + !seen }' "$work/$kind.out")))
    done
}

have wrk 'apt-get install wrk' || exit 1
build_ours
start_ours --set table.capacity=180000
start_load $((minutes * 60 + 5))
watch_memory $((minutes * 60))
count_answers
echo "after $warm_up_seconds s: $warm KiB; most: $most KiB; unexpected answers and socket errors: $errors"
[ "$errors" -eq 0 ] || fail "$errors unexpected answers or socket errors"
[ $((most - warm)) -le "$growth_allowed_kib" ] || fail "memory grew by $((most - warm)) KiB after the warm-up"
