#!/usr/bin/env bash
# What replication adds to the processor time of a check under full load: the same server alone and with a peer that
# takes all changes, both there all the time and loaded in turns of a quarter of a second, so that a slow phase of the
# machine meets both. All threads are counted, also the one that sends. Each round is of servers that were started anew:
# two of one binary differ by several percent, by where their memory comes to lie.
set -euo pipefail

rounds=7 seconds=15
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
    # So that nearly all buckets are there.
    local name
    for name in ours with; do
        taskset -c "$load_core" "$root/target/release/openclaw-rating" load --policy open --key-prefix user \
            --keys 1000000 --pipeline 16 --duration 4s "http://127.0.0.1:${port[$name]}" >/dev/null
    done
    sleep 2
}

start_node() { # ID NAME PORT
    launch "$2" "$3" "$root/target/release/openclaw-rating" serve --config "$work/$1.toml" \
        --set "server.listen=127.0.0.1:$3" --set log.level=warn --set table.capacity=1500000
}

# Loads both in turn, and appends "name depth keys CPU-µs-a-check those-of-data-threads checks/s idle-%" of each.
measure() { # DEPTH KEYS
    taskset -c "$load_core" "$root/target/release/examples/alternate" "$1" "$2" "$seconds" \
        "ours=${port[ours]}=${pid[ours]}" "with=${port[with]}=${pid[with]}" |
        sed "s/ / $1 $2 /" >>"$work/runs"
}

changes_sent() {
    curl -s -m 5 http://127.0.0.1:18081/metrics |
        awk '/^openclaw_peer_sent_buckets_total[ {]/ { n += $NF } END { print n + 0 }'
}

# What COLUMN of the runs of a contender has.
values() { # NAME DEPTH KEYS COLUMN
    awk -v of="$1 $2 $3" -v column="$4" '$1 " " $2 " " $3 == of { print $column }' "$work/runs"
}

# By how many percent a check on the server with a peer costs more, round by round.
added() { # DEPTH KEYS
    paste <(values ours "$@" 4) <(values with "$@" 4) | awk '{ print ($2 / $1 - 1) * 100 }'
}

# The same, of the threads that answer no checks alone: the data thread's time varies far more than what these take.
added_by_others() { # DEPTH KEYS
    paste <(values ours "$@" 4) <(values ours "$@" 5) <(values with "$@" 4) <(values with "$@" 5) |
        awk '{ print (($3 - $4) - ($1 - $2)) / $1 * 100 }'
}

# Writes the median, the least and the most of what it reads.
summarize() { # FORMAT
    sort -g | awk -v format="$1" '{ v[NR] = $1 } END { printf format, v[int((NR + 1) / 2)], v[1], v[NR] }'
}

table() {
    printf '| pipelined | keys | alone, µs/check | with a peer, µs/check | added, %% | by other threads, %% |'
    echo ' alone, checks/s | with a peer, checks/s |'
    echo '|---|---|---|---|---|---|---|---|'
    local depth keys
    for depth in 1 16; do
        for keys in 10000 1000000; do
            printf '| %s | %s |' "$depth" "$keys"
            values ours "$depth" "$keys" 4 | summarize ' %.2f (%.2f–%.2f) |'
            values with "$depth" "$keys" 4 | summarize ' %.2f (%.2f–%.2f) |'
            added "$depth" "$keys" | summarize ' %.1f (%.1f–%.1f) |'
            added_by_others "$depth" "$keys" | summarize ' %.1f (%.1f–%.1f) |'
            values ours "$depth" "$keys" 6 | summarize ' %d |'
            values with "$depth" "$keys" 6 | summarize ' %d |\n'
        done
    done
    printf 'Goal: at most 8 %% more. Part of a core without load, %%:'
    awk '$1 == "ours" { print $7 }' "$work/runs" | summarize ' alone %.2f,'
    awk '$1 == "with" { print $7 }' "$work/runs" | summarize ' with a peer %.2f.\n'
}

have curl 'apt-get install curl' || exit 1
build_ours --example alternate
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/secret"
chmod 600 "$work/secret"
write_config 1 >"$work/1.toml"
write_config 2 >"$work/2.toml"
: >"$work/runs"
for round in $(seq "$rounds"); do
    start_servers
    for depth in 1 16; do
        for keys in 10000 1000000; do measure "$depth" "$keys"; done
    done
    say "round $round of $rounds: $(changes_sent) changes told"
    for name in ours with peer; do stop "$name"; done
done
table
