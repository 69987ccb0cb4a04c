#!/usr/bin/env bash
# The p99 of checks with a busy agent in the process and without one: interleaved runs of `openclaw-rating
# load` at a fixed rate. The agent probes 33 URLs ten times a second each, and one region of three is down.
set -euo pipefail

rounds=10 seconds=10 rate=10000 connections=16
usage() { echo "usage: benches/compare/agent.sh [--rounds N] [--seconds N] [--rate N] [--connections N]"; }
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift 2 ;;
        --seconds) seconds=$2; shift 2 ;;
        --rate) rate=$2; shift 2 ;;
        --connections) connections=$2; shift 2 ;;
        *) usage >&2; exit 2 ;;
    esac
done
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# As in production: the data thread keeps to a core, and the kernel finds a place for the agent's threads.
server_core=$server_core,$load_core

urls() { # PORT COUNT
    local number
    for number in $(seq "$2"); do printf '"http://127.0.0.1:%s/health?%s", ' "$1" "$number"; done
}

# What is probed answers at once (the null server), but for the region `gone`, where nobody listens.
write_config() {
    local witness
    cat "$here/conf/openclaw-rating.toml"
    cat <<END
[node]
region = "here"
[state]
directory = "$work/state"
[agent]
mode = "observe"
cluster = "bench"
[agent.probe]
interval = "100ms"
[[agent.region]]
name = "here"
values = ["192.0.2.1"]
health = [$(urls 18081 12)]
[[agent.region]]
name = "there"
values = ["192.0.2.2"]
health = [$(urls 18081 12)]
[[agent.region]]
name = "gone"
values = ["192.0.2.3"]
health = [$(urls 18089 2)]
[agent.public]
url = "http://127.0.0.1:18081/health"
[agent.traffic]
provider = "exec"
name = "bench.example.com"
command = ["/bin/false"]
END
    for witness in 1 2; do
        printf '[[agent.witness]]\nurl = "http://127.0.0.1:18081/%s/{region}"\n' "$witness"
    done
}

# Appends "label p50 p99" of one run to the file.
measure() { # LABEL CONFIG
    launch "$1" 18080 "$root/target/release/openclaw-rating" serve --config "$2" \
        --set 'server.listen=127.0.0.1:18080' --set log.level=error
    # The agent is under way, and has seen that a region is gone.
    sleep 3
    taskset -c "$load_core" "$root/target/release/openclaw-rating" load http://127.0.0.1:18080 --policy open \
        --connections "$connections" --rate "$rate" --duration "${seconds}s" --keys 1000 --json \
        >"$work/load.json" || fail "load: $(head -c 2000 "$work/load.json")"
    jq -r --arg name "$1" '"\($name) \(.latency_ns.p50 / 1000) \(.latency_ns.p99 / 1000)"' \
        "$work/load.json" >>"$work/runs"
    stop "$1"
}

# Medians and ranges, and the ratio within each round.
table() {
    echo '| | p50 µs | p99 µs |'
    echo '|---|---|---|'
    local label column
    for label in without with; do
        printf '| %s |' "$label"
        for column in 2 3; do
            awk -v label="$label" -v column="$column" '$1 == label { print $column }' "$work/runs" | sort -g |
                awk '{ v[NR] = $1 } END { printf " %.0f (%.0f–%.0f) |", v[int((NR + 1) / 2)], v[1], v[NR] }'
        done
        echo
    done
    awk '{ p99[$1, ++n[$1]] = $3 } END { for (i = 1; i <= n["with"]; i++) print p99["with", i] / p99["without", i] }' \
        "$work/runs" | sort -g | awk '{ r[NR] = $1 } END {
            printf "p99 with the agent is %.2f (%.2f–%.2f) times that without it.\n", r[int((NR + 1) / 2)], r[1], r[NR] }'
}

have jq 'apt-get install jq' || exit 1
build_ours
write_config >"$work/with.toml"
server_core=$load_core start_null
: >"$work/runs"
for round in $(seq "$rounds"); do
    # Which is first changes from round to round.
    order=(without with)
    [ $((round % 2)) -eq 1 ] || order=(with without)
    for label in "${order[@]}"; do
        say "round $round of $rounds: $label the agent"
        config=$work/with.toml
        [ "$label" = with ] || config=$here/conf/openclaw-rating.toml
        measure "$label" "$config"
    done
done
table
