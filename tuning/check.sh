#!/usr/bin/env bash
# Says what this host lacks to run the server well. Reads only. Ends with 1 when something is needed.
set -uo pipefail

needed=0
ok() { printf 'ok      %s\n' "$*"; }
better() { printf 'better  %s\n' "$*"; }
need() { printf 'NEEDED  %s\n' "$*"; needed=1; }

read_value() { cat "$1" 2>/dev/null; }

# Whether version $1 is at least $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -1)" = "$2" ]; }

check_kernel() {
    local version
    version=$(uname -r | grep -oE '^[0-9]+\.[0-9]+')
    if at_least "$version" 6.1; then ok "Linux $version"; else need "Linux $version: 6.1 or newer is needed"; fi
}

check_io_uring() {
    case $(read_value /proc/sys/kernel/io_uring_disabled) in
        1) better 'kernel.io_uring_disabled is 1: run as root or in kernel.io_uring_group, or set it to 0' ;;
        2) need 'kernel.io_uring_disabled is 2: sysctl kernel.io_uring_disabled=0' ;;
        *) ok 'io_uring is not disabled by sysctl (a container may still forbid it by seccomp)' ;;
    esac
}

# Limits of this shell, which a service does not have: see LimitMEMLOCK and LimitNOFILE.
check_limits() {
    local locked files
    locked=$(ulimit -H -l)
    if [ "$locked" = unlimited ] || [ "$locked" -ge 65536 ]; then ok "locked memory: $locked KiB"
    else better "locked memory: $locked KiB; LimitMEMLOCK=64M in the unit"; fi
    files=$(ulimit -H -n)
    if [ "$files" = unlimited ] || [ "$files" -ge 65536 ]; then ok "open files: $files"
    else better "open files: $files; LimitNOFILE=1048576 in the unit"; fi
}

check_huge_pages() {
    local mode
    mode=$(read_value /sys/kernel/mm/transparent_hugepage/enabled)
    case $mode in
        *'[never]'*) better 'transparent huge pages are off: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled' ;;
        '') better 'this kernel has no transparent huge pages' ;;
        *) ok "transparent huge pages: $mode" ;;
    esac
    # Under systemd the table is in memory that outlives the process, for which this one counts.
    mode=$(read_value /sys/kernel/mm/transparent_hugepage/shmem_enabled)
    case $mode in
        *'[never]'*|*'[deny]'*)
            better 'no huge pages for kept memory: echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled' ;;
        '') ;;
        *) ok "huge pages for kept memory: $mode" ;;
    esac
}

check_sysctl() { # NAME LEAST WHY
    local value
    value=$(read_value "/proc/sys/${1//.//}")
    if [ -z "$value" ]; then better "$1 cannot be read"
    elif [ "$value" -ge "$2" ]; then ok "$1 = $value"
    else better "$1 = $value, $2 or more: $3"; fi
}

check_interrupts() {
    if [ -d /run/systemd/system ] && systemctl is-active --quiet irqbalance 2>/dev/null; then
        better 'irqbalance runs: it moves interrupts away from the data threads (tuning/README.md)'
    else
        ok 'irqbalance does not run'
    fi
    local governor
    governor=$(read_value /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)
    [ -z "$governor" ] || [ "$governor" = performance ] \
        || better "the frequency governor is $governor: performance gives steady latency"
}

check_kernel
check_io_uring
check_limits
check_huge_pages
check_sysctl net.core.somaxconn 4096 'connections that wait to be accepted'
check_sysctl net.ipv4.tcp_max_syn_backlog 4096 'the same, before the handshake is done'
check_sysctl net.core.rmem_max 4194304 'datagrams between regions arrive in bursts'
check_interrupts
exit $needed
