# What the comparison scripts share: servers on one core, load from the other, figures from /proc.
# Sourced, not run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${COMPARE_DIR:-$root/target/compare}
server_core=${SERVER_CORE:-0}
load_core=${LOAD_CORE:-1}
work=$(mktemp -d)
declare -A pid port
ticks_per_second=$(getconf CLK_TCK)

stop() { # NAME
    [ -n "${pid[$1]:-}" ] || return 0
    kill "${pid[$1]}" 2>/dev/null || true
    wait "${pid[$1]}" 2>/dev/null || true
    unset "pid[$1]"
}

clean_up() {
    local name
    for name in "${!pid[@]}"; do stop "$name"; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# Reads the options of a script that has no others into `rounds` and `seconds`.
read_rounds() { # ARGUMENTS...
    while [ $# -gt 0 ]; do
        case $1 in
            --rounds) rounds=$2; shift 2 ;;
            --seconds) seconds=$2; shift 2 ;;
            *) echo "usage: benches/compare/${0##*/} [--rounds N] [--seconds N]" >&2; exit 2 ;;
        esac
    done
}

# Whether a tool is there; says how to get it if not.
have() { # TOOL REMEDY
    command -v "$1" >/dev/null && return
    say "$1 is missing: $2"
    return 1
}

build_ours() { # [MORE FOR CARGO...]
    have cargo 'install a Rust toolchain' || exit 1
    (cd "$root" && cargo build --quiet --locked --release --bin openclaw-rating --example null_server "$@")
}

free_port() { # PORT
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Starts COMMAND on the server core and waits until it accepts connections.
launch() { # NAME PORT COMMAND...
    local name=$1
    port[$name]=$2
    shift 2
    free_port "${port[$name]}" || fail "port ${port[$name]}, which $name needs, is in use"
    taskset -c "$server_core" "$@" >"$work/$name.log" 2>&1 &
    pid[$name]=$!
    for _ in $(seq 100); do
        free_port "${port[$name]}" || return 0
        kill -0 "${pid[$name]}" 2>/dev/null || break
        sleep 0.1
    done
    tail -5 "$work/$name.log" >&2
    fail "$name did not start"
}

start_null() { launch null 18081 "$root/target/release/examples/null_server" 127.0.0.1:18081; }

start_ours() { # [ARGUMENTS...]
    launch ours 18080 "$root/target/release/openclaw-rating" serve \
        --config "$here/conf/openclaw-rating.toml" --set 'server.listen=127.0.0.1:18080' \
        --set log.level=warn "$@"
}

resident_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }
# Processor time of a process, user and system, in ticks.
cpu_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

# Runs wrk and prints: requests, requests/s, p50 µs, p99 µs, answers that were no success.
wrk_run() { # PORT CONNECTIONS SECONDS SCRIPT ARGUMENTS...
    local port=$1 connections=$2 seconds=$3 script=$4
    shift 4
    taskset -c "$load_core" wrk -t1 -c"$connections" -d"${seconds}s" --timeout 10s \
        -s "$script" "http://127.0.0.1:$port/" -- "$@" "$connections" >"$work/wrk.out" || fail "wrk: $(cat "$work/wrk.out")"
    awk '
        $1 == "percentiles" { p50 = $2; p99 = $3 }
        / requests in / { requests = $1 }
        /^Requests\/sec:/ { rate = $2 }
        /Non-2xx/ { bad += $NF }
        /Socket errors:/ { gsub(",", ""); bad += $4 + $6 + $8 + $10 }
        END { print requests, rate, p50, p99, bad + 0 }
    ' "$work/wrk.out"
}

# The same from redis-benchmark, which counts requests and not time.
redis_run() { # PORT CONNECTIONS REQUESTS DEPTH KEYS COMMAND...
    local port=$1 connections=$2 requests=$3 depth=$4 keys=$5
    shift 5
    taskset -c "$load_core" redis-benchmark -h 127.0.0.1 -p "$port" -c "$connections" -P "$depth" \
        -r "$keys" -n "$requests" --csv "$@" >"$work/redis.out" || fail "redis-benchmark: $(cat "$work/redis.out")"
    tr -d '"' <"$work/redis.out" | awk -F, -v n="$requests" '
        NR == 2 { print n, $(NF - 6), $(NF - 3) * 1000, $(NF - 1) * 1000, 0 }'
}
