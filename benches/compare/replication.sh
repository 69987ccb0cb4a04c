#!/usr/bin/env bash
# What replication adds to the processor time of a check: the same server alone and with a peer that takes all
# changes, both there all the time and loaded in turn, so that a slow phase of the machine meets both. All threads are
# counted, also the one that sends, until all that changed is told.
set -euo pipefail

rounds=15 seconds=2
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
read_rounds "$@"

# The configuration of node ID, which hears its peer at port 18090 + ID.
write_config() { # ID
    cat "$here/conf/openclaw-rating.toml"
    cat <<END
[node]
id = $1
region = "r$1"
[cluster]
secret_file = "$work/secret"
listen = "127.0.0.1:$((18090 + $1))"
[[peer]]
id = $((3 - $1))
address = "127.0.0.1:$((18093 - $1))"
END
}

start_servers() {
    start_ours --set table.capacity=1500000
    start_node 1 with 18081
    local server_core=$load_core
    start_node 2 peer 18082
    # The two greet, tell each other all there is, and give back what they charged for each other before.
    sleep 5
}

start_node() { # ID NAME PORT
    launch "$2" "$3" "$root/target/release/openclaw-rating" serve --config "$work/$1.toml" \
        --set "server.listen=127.0.0.1:$3" --set log.level=warn --set table.capacity=1500000
}

# Loads one server for a while; prints how many checks it answered.
load() { # NAME DEPTH KEYS
    wrk_run "${port[$1]}" 64 "$seconds" "$here/load/checks.lua" get "$2" "$3" random |
        awk '$5 > 0 { print "error: " $5 " answers were no success" > "/dev/stderr"; exit 1 } { print $1 }'
}

# Loads both in turn and appends "label depth keys CPU-µs-a-check" of each.
measure() { # DEPTH KEYS FIRST SECOND
    local depth=$1 keys=$2 name
    local -A before checks
    shift 2
    for name in "$@"; do before[$name]=$(cpu_ticks "${pid[$name]}"); done
    for name in "$@"; do checks[$name]=$(load "$name" "$depth" "$keys"); done
    # What changed last has been told by then.
    sleep 1.5
    for name in "$@"; do
        awk -v label="$name $depth $keys" -v ticks=$(($(cpu_ticks "${pid[$name]}") - before[$name])) \
            -v hz="$ticks_per_second" -v checks="${checks[$name]}" \
            'BEGIN { printf "%s %.4f\n", label, ticks / hz * 1000000 / checks }' \
            >>"$work/runs"
    done
}

changes_sent() {
    curl -s -m 5 http://127.0.0.1:18081/metrics |
        awk '/^openclaw_peer_sent_buckets_total[ {]/ { n += $NF } END { print n + 0 }'
}

# Medians and ranges, and what the peer adds within a round.
table() {
    echo '| pipelined | keys | alone, µs/check | with a peer, µs/check | added |'
    echo '|---|---|---|---|---|'
    local depth keys label
    for depth in 1 16; do
        for keys in 10000 1000000; do
            printf '| %s | %s |' "$depth" "$keys"
            for label in ours with; do
                awk -v of="$label $depth $keys" '$1 " " $2 " " $3 == of { print $4 }' "$work/runs" | sort -g |
                    awk '{ v[NR] = $1 } END { printf " %.2f (%.2f–%.2f) |", v[int((NR + 1) / 2)], v[1], v[NR] }'
            done
            awk -v of="$depth $keys" '$2 " " $3 == of { cost[$1, ++n[$1]] = $4 }
                END { for (i = 1; i <= n["with"]; i++) print cost["with", i] / cost["ours", i] }' "$work/runs" |
                sort -g | awk '{ r[NR] = $1 } END { printf " %.1f %% |\n", (r[int((NR + 1) / 2)] - 1) * 100 }'
        done
    done
    echo 'Goal: at most 8 %.'
}

have wrk 'apt-get install wrk' && have curl 'apt-get install curl' || exit 1
build_ours
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/secret"
chmod 600 "$work/secret"
write_config 1 >"$work/1.toml"
write_config 2 >"$work/2.toml"
: >"$work/runs"
start_servers
for depth in 1 16; do
    for keys in 10000 1000000; do
        say "pipelined $depth, $keys keys"
        for round in $(seq "$rounds"); do
            if ((round % 2)); then measure "$depth" "$keys" ours with; else measure "$depth" "$keys" with ours; fi
        done
        say "changes told so far: $(changes_sent)"
    done
done
table
