#!/usr/bin/env bash
# This server beside others: servers on one core with one worker thread, load from another core,
# rounds interleaved. Prints medians and ranges as Markdown. benches/README.md says how to read them.
set -euo pipefail

rounds=5 seconds=5 connections=64 key_counts=(10000 1000000) stored_keys=786432 only= build=yes
usage() {
    cat <<'END'
usage: benches/compare/run.sh [--rounds N] [--seconds N] [--only NAME,NAME] [--no-build]
  --rounds N   measurements of each contender (5)
  --seconds N  length of one (5)
  --only LIST  contenders out of: null ours nginx axum redis throttlecrab; null and ours always take part
  --no-build   take the binaries that are there
Environment: SERVER_CORE (0), LOAD_CORE (1), COMPARE_DIR for peers built here (target/compare).
END
}
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift 2 ;;
        --seconds) seconds=$2; shift 2 ;;
        --only) only=$2; shift 2 ;;
        --no-build) build=no; shift ;;
        *) usage >&2; exit 2 ;;
    esac
done
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

wanted() { [ -z "$only" ] || [[ ",$only," == *",$1,"* ]]; }

# Contenders that can run here, as lines "name depth".
contenders=()

prepare_peers() {
    contenders=('null 1' 'null 16' 'ours 1' 'ours 16')
    local remedy
    if wanted nginx && have nginx 'apt-get install nginx-light'; then
        contenders+=('nginx 1' 'nginx 16')
    fi
    if wanted axum && have cargo 'install a Rust toolchain'; then
        [ "$build" = no ] || cargo build --quiet --locked --release \
            --manifest-path "$here/axum_governor/Cargo.toml" --target-dir "$tools/build-axum"
        contenders+=('axum 1' 'axum 16')
    fi
    if wanted redis && have redis-server 'apt-get install redis-server' \
        && have redis-benchmark 'apt-get install redis-tools'; then
        contenders+=('redis 1' 'redis 16')
    fi
    remedy="cargo install --locked --root $tools throttlecrab-server"
    if wanted throttlecrab && PATH="$tools/bin:$PATH" have throttlecrab-server "$remedy"; then
        contenders+=('throttlecrab 1' 'throttlecrab 16')
        ! have redis-benchmark 'apt-get install redis-tools' \
            || contenders+=('throttlecrab-resp 1' 'throttlecrab-resp 16')
    fi
}

start_nginx() {
    mkdir -p "$work/nginx"
    sed "s|DIRECTORY|$work/nginx|; s|PORT|18082|" "$here/conf/nginx.conf" >"$work/nginx.conf"
    launch nginx 18082 nginx -e "$work/nginx/nginx.log" -c "$work/nginx.conf"
}
start_axum() { launch axum 18083 "$tools/build-axum/release/axum-governor" 127.0.0.1:18083; }
start_redis() {
    launch redis 18084 redis-server --bind 127.0.0.1 --port 18084 --save '' --appendonly no --dir "$work"
    script=$(redis-cli -p 18084 script load "$(cat "$here/gcra.lua")")
}
start_throttlecrab() { # its RESP port is open when its HTTP port is
    TOKIO_WORKER_THREADS=1 launch throttlecrab 18085 "$tools/bin/throttlecrab-server" \
        --http --http-host 127.0.0.1 --http-port 18085 --redis --redis-host 127.0.0.1 --redis-port 18086 \
        --store-capacity 1000000 --log-level error
}
# Servers by contender: the two protocols of throttlecrab are one process.
server_of() { echo "${1%-resp}"; }
servers() { printf '%s\n' "${contenders[@]}" | awk '{ sub("-resp", "", $1) } !seen[$1]++ { print $1 }'; }

ask() { curl -s -m 5 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$1"; }
ask_throttlecrab() { # KEY
    curl -s -m 5 -H 'Content-Type: application/json' "http://127.0.0.1:18085/throttle" \
        -d "{\"key\":\"$1\",\"max_burst\":2,\"count_per_period\":1,\"period\":3600}" | grep -o '"allowed":[a-z]*'
}

# The first check of a limit of one passes, the second does not; whoever answers otherwise is not measured.
probe() { # SERVER
    local name=$1 first second expected
    expected='200 429'
    case $name in
        null) expected='200 200' first=$(ask 18081/) second=$(ask 18081/) ;;
        redis)
            expected='1 0'
            first=$(redis-cli -p 18084 evalsha "$script" 1 probe 1 1 3600 1 | head -1)
            second=$(redis-cli -p 18084 evalsha "$script" 1 probe 1 1 3600 1 | head -1)
            ;;
        throttlecrab)
            expected='"allowed":true "allowed":false'
            # With a burst of one it never denies: two, and the third check.
            first=$(ask_throttlecrab probe) second=$(ask_throttlecrab probe >/dev/null; ask_throttlecrab probe)
            ;;
        *) first=$(ask "${port[$name]}/v1/check/tight/probe") second=$(ask "${port[$name]}/v1/check/tight/probe") ;;
    esac
    [ "$first $second" = "$expected" ] || fail "$name answers \"$first $second\" to two checks of a limit of one"
}

# One run; prints requests, requests/s, p50 µs, p99 µs, bad answers.
load_once() { # CONTENDER DEPTH KEYS SECONDS ORDER
    local name=$1 depth=$2 keys=$3 seconds=$4 order=$5
    case $name in
        redis) redis_load "$name" "$depth" "$keys" "$seconds" 18084 \
            evalsha "$script" 1 user__rand_int__ 1000000 1 60 1 ;;
        throttlecrab-resp) redis_load "$name" "$depth" "$keys" "$seconds" 18086 \
            THROTTLE user__rand_int__ 1000000 1 60 ;;
        throttlecrab) wrk_run 18085 "$connections" "$seconds" "$here/load/checks.lua" post "$depth" "$keys" "$order" ;;
        *) wrk_run "${port[$name]}" "$connections" "$seconds" "$here/load/checks.lua" get "$depth" "$keys" "$order" ;;
    esac
}

declare -A rate
redis_load() { # CONTENDER DEPTH KEYS SECONDS PORT COMMAND...
    local name=$1 depth=$2 keys=$3 seconds=$4 port=$5
    shift 5
    redis_run "$port" "$connections" $((${rate[$name $depth]:-20000} * seconds)) "$depth" "$keys" "$@"
}

# Every key once, so that no run pays for making buckets and touching memory.
warm_up() {
    local name most=${key_counts[-1]}
    for name in $(servers); do
        say "warm-up: $name"
        if [ "$name" = redis ]; then
            rate[redis 16]=$most
            load_once redis 16 "$most" 3 random >/dev/null
        else
            load_once "$name" 16 "$most" 15 once >/dev/null
        fi
    done
}

# Requests a second of the contenders that are loaded by number, so that their runs fill the time.
calibrate() {
    local contender result
    for contender in "${contenders[@]}"; do
        case $contender in redis\ * | *-resp\ *) ;; *) continue ;; esac
        # shellcheck disable=SC2086
        result=$(load_once $contender 10000 1 random)
        rate[$contender]=$(awk '{ print int($2) }' <<<"$result")
    done
}

measure() { # CONTENDER DEPTH KEYS
    local process before result
    process=${pid[$(server_of "$1")]}
    before=$(cpu_ticks "$process")
    result=$(load_once "$1" "$2" "$3" "$seconds" random)
    # contender depth keys rate p50 p99 cpu bad
    awk -v contender="$1 $2 $3" -v ticks=$(($(cpu_ticks "$process") - before)) -v hz="$ticks_per_second" \
        '{ print contender, $2, $3, $4, ticks / hz * 1000000 / $1, $5 }' <<<"$result" >>"$work/runs"
}

# Growth of resident memory by distinct keys, in a server just started.
measure_memory() { # SERVER
    local name=$1 before stored
    stop "$name"
    # Three quarters of 2^20 lines, as full as a table gets.
    if [ "$name" = ours ]; then start_ours --set table.capacity=$stored_keys --set table.populate=false; else "start_$name"; fi
    probe "$name"
    before=$(resident_kib "${pid[$name]}")
    if [ "$name" = redis ]; then
        rate[redis 16]=$((stored_keys / 2))
        load_once redis 16 $stored_keys 6 random >/dev/null
        stored=$(redis-cli -p 18084 dbsize)
    else
        load_once "$name" 16 $stored_keys 30 once >/dev/null
        stored=$(awk '$1 == "distinct" { print $2 }' "$work/wrk.out")
    fi
    awk -v name="$name" -v keys="$stored" -v kib=$(($(resident_kib "${pid[$name]}") - before)) \
        'BEGIN { printf "%s %.0f %d\n", name, kib * 1024 / keys, keys }' >>"$work/memory"
}

table() {
    awk -v memory="$work/memory" -f "$here/table.awk" "$work/runs"
}

main() {
    have wrk 'apt-get install wrk' && have curl 'apt-get install curl' && have taskset 'apt-get install util-linux' || exit 1
    ulimit -n 16384 2>/dev/null || say 'the limit of open files stays at '"$(ulimit -n)"
    [ "$build" = no ] || build_ours
    prepare_peers
    local name round keys contender
    for name in $(servers); do
        if [ "$name" = ours ]; then start_ours --set table.capacity=1500000; else "start_$name"; fi
        probe "$name"
    done
    warm_up
    calibrate
    for round in $(seq "$rounds"); do
        for keys in "${key_counts[@]}"; do
            for contender in "${contenders[@]}"; do
                say "round $round of $rounds: $contender, $keys keys"
                # shellcheck disable=SC2086
                measure $contender "$keys"
            done
        done
    done
    for name in $(servers); do
        [ "$name" = null ] && continue
        say "memory: $name"
        measure_memory "$name"
    done
    printf '%s rounds of %s s, %s connections, %s, Linux %s, %s\n\n' "$rounds" "$seconds" "$connections" \
        "$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" "$(uname -r)" "$(date -u +%F)"
    table
}

main
