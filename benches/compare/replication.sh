#!/usr/bin/env bash
# What replication adds to the processor time of a check: the same server alone and with a peer that takes all
# changes, in interleaved rounds. All of its threads are counted, also the one that sends.
set -euo pipefail

rounds=5 seconds=5
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

start_alone() { start_ours --set table.capacity=1500000; }

start_with_peer() {
    launch ours 18080 "$root/target/release/openclaw-rating" serve --config "$work/1.toml" \
        --set 'server.listen=127.0.0.1:18080' --set log.level=warn --set table.capacity=1500000
    local server_core=$load_core
    launch peer 18081 "$root/target/release/openclaw-rating" serve --config "$work/2.toml" \
        --set 'server.listen=127.0.0.1:18081' --set log.level=warn --set table.capacity=1500000
    # They greet, and have told each other all there is.
    sleep 2
}

# Appends "label depth keys CPU-µs-a-check" of one run.
measure() { # LABEL DEPTH KEYS
    local before result
    before=$(cpu_ticks "${pid[ours]}")
    result=$(wrk_run 18080 64 "$seconds" "$here/load/checks.lua" get "$2" "$3" random)
    awk -v label="$1 $2 $3" -v ticks=$(($(cpu_ticks "${pid[ours]}") - before)) -v hz="$ticks_per_second" '
        $5 > 0 { print "error: " $5 " answers were no success" > "/dev/stderr"; exit 1 }
        { printf "%s %.4f\n", label, ticks / hz * 1000000 / $1 }' <<<"$result" >>"$work/runs"
}

changes_sent() {
    curl -s -m 5 http://127.0.0.1:18080/metrics |
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
            for label in alone peer; do
                awk -v of="$label $depth $keys" '$1 " " $2 " " $3 == of { print $4 }' "$work/runs" | sort -g |
                    awk '{ v[NR] = $1 } END { printf " %.2f (%.2f–%.2f) |", v[int((NR + 1) / 2)], v[1], v[NR] }'
            done
            awk -v of="$depth $keys" '$2 " " $3 == of { cost[$1, ++n[$1]] = $4 }
                END { for (i = 1; i <= n["peer"]; i++) print cost["peer", i] / cost["alone", i] }' "$work/runs" |
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
for round in $(seq "$rounds"); do
    for label in alone peer; do
        if [ "$label" = alone ]; then start_alone; else start_with_peer; fi
        for depth in 1 16; do
            for keys in 10000 1000000; do
                say "round $round of $rounds: $label, pipelined $depth, $keys keys"
                measure "$label" "$depth" "$keys"
            done
        done
        [ "$label" = alone ] || say "changes told so far: $(changes_sent)"
        stop peer
        stop ours
    done
done
table
