#!/bin/sh
# A command for [agent.traffic] provider = "exec". The record is lines "ADDRESS NAME" of a file from which CoreDNS
# answers (its `hosts` plugin, which looks for changes every 5 s). The directory is one that this command may write to
# and the name server may read: systemd/openclaw-rating.service.d/move-traffic.conf.example makes it so.
#
#   command = ["/usr/local/bin/move-traffic.sh", "/var/lib/openclaw-hosts/hosts", "192.0.2.53"]
set -eu
# The unit's own mask hides what is written from everybody else.
umask 022
file=$1 server=$2

# What the record holds now, one value a line.
values() { awk -v name="$OPENCLAW_NAME" '$2 == name { print $1 }' "$file"; }

# The values in $1, sorted, one a line.
sorted() { printf '%s\n' $1 | sort -u; }

case $OPENCLAW_ACTION in
read)
    values
    ;;
write)
    # Two agents must not come between comparing and writing.
    exec 9>"$file.lock"
    flock 9
    found=$(values)
    if [ "$(sorted "$found")" != "$(sorted "$OPENCLAW_EXPECTED")" ]; then
        echo "$OPENCLAW_NAME holds" $found "and not $OPENCLAW_EXPECTED" >&2
        exit 3
    fi
    {
        awk -v name="$OPENCLAW_NAME" '$2 != name' "$file"
        for value in $OPENCLAW_WANTED; do echo "$value $OPENCLAW_NAME"; done
    } >"$file.new"
    # All or nothing: whoever reads sees the old lines or the new ones.
    mv "$file.new" "$file"
    ;;
visible)
    shown=$(dig +short +time=1 +tries=1 "@$server" "$OPENCLAW_NAME" "$OPENCLAW_TYPE")
    if [ "$(sorted "$shown")" != "$(sorted "$OPENCLAW_WANTED")" ]; then
        echo "$server answers" $shown >&2
        exit 4
    fi
    ;;
*)
    echo "OPENCLAW_ACTION is $OPENCLAW_ACTION" >&2
    exit 1
    ;;
esac
