# Runs (contender depth keys rate p50 p99 cpu bad) to a Markdown table of medians with ranges.

function sort(values, n,    i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && values[j - 1] > values[j]; j--) {
            t = values[j]; values[j] = values[j - 1]; values[j - 1] = t
        }
}

# The values of one column of a group, sorted; their number.
function collect(group, column,    i) {
    delete sorted
    for (i = 1; i <= runs[group]; i++) sorted[i] = value[group, column, i]
    sort(sorted, runs[group])
    return runs[group]
}

function median(group, column,    n) {
    n = collect(group, column)
    return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

function cell(group, column, form,    n, middle) {
    n = collect(group, column)
    middle = median(group, column)
    return sprintf(form " (" form "–" form ")", middle, sorted[1], sorted[n])
}

# The ratio to the null server within each round, then the median: what slows one round slows both.
function to_null(group, null_group,    i, n) {
    delete sorted
    n = runs[group]
    for (i = 1; i <= n; i++) sorted[i] = value[group, 4, i] / value[null_group, 4, i]
    sort(sorted, n)
    return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

BEGIN { while ((getline line < memory) > 0) { split(line, part, " "); bytes[part[1]] = part[2] } }

{
    group = $1 " " $2 " " $3
    if (!(group in runs)) order[++groups] = group
    n = ++runs[group]
    for (column = 1; column <= 4; column++) value[group, column, n] = $(column + 3)
    bad[group] += $8
}

END {
    print "| server | pipelined | keys | CPU µs/check | × null | checks/s | p50 µs | p99 µs | bytes/key |"
    print "|---|---|---|---|---|---|---|---|---|"
    for (g = 1; g <= groups; g++) {
        group = order[g]
        split(group, part, " ")
        null_group = "null " part[2] " " part[3]
        server = part[1]
        sub(/-resp$/, "", server)
        printf "| %s | %s | %s | %s | %.2f | %s | %s | %s | %s |%s\n", part[1], part[2], part[3],
            cell(group, 4, "%.2f"), to_null(group, null_group), cell(group, 1, "%.0f"),
            cell(group, 2, "%.0f"), cell(group, 3, "%.0f"),
            server in bytes ? bytes[server] : "–",
            bad[group] ? " INVALID: " bad[group] " answers were no success" : ""
    }
}
