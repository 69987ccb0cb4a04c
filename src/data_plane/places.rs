//! How many connections each data thread has places for.

/// Places beyond the limit of connections, for those to whom it is told.
const SPARE_PLACES: u32 = 64;

/// The kernel spreads connections unevenly, so a thread may take half as many more than its part.
pub(crate) fn connections_of_core(max_connections: u32, threads: usize) -> u32 {
    let part = (u64::from(max_connections) * 3).div_ceil(2 * threads.max(1) as u64);
    u32::try_from(part).unwrap_or(u32::MAX).min(max_connections).max(1)
}

/// The places of the ring of a thread that has so many connections.
pub(crate) const fn places_for(connections: u32) -> u32 {
    connections + SPARE_PLACES
}

/// As many connections as are `wanted`, or as threads have places for where a process may open so many `files`.
pub(crate) fn connections_within(files: Option<u64>, wanted: u32, threads: usize) -> u32 {
    let places = files.unwrap_or(u64::MAX).saturating_sub(u64::from(SPARE_PLACES));
    let spread = (u128::from(places) * 2 * threads as u128 / 3).max(places.into());
    u32::try_from(spread).map_or(wanted, |most| most.min(wanted)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_together_have_room_for_the_connections_that_are_allowed() {
        for (max_connections, threads, of_core) in
            [(1, 1, 1), (3, 2, 3), (1, 4, 1), (10, 2, 8), (16_384, 4, 6144), (1_048_576, 1, 1_048_576)]
        {
            let part = connections_of_core(max_connections, threads);
            assert_eq!(part, of_core, "{max_connections} on {threads}");
        }
    }

    #[test]
    fn connections_that_nobody_asked_for_are_as_many_as_files_may_be_open() {
        for (files, threads, connections) in [
            (None, 2, 16_384),
            (Some(16_384 + 64), 1, 16_384),
            (Some(16_384 + 63), 1, 16_383),
            (Some(4096), 2, 5376),
            (Some(4096), 4, 10_752),
            (Some(64), 8, 1),
            (Some(u64::MAX), 512, 16_384),
        ] {
            let within = connections_within(files, 16_384, threads);
            assert_eq!(within, connections, "{files:?} on {threads}");
            let places = u64::from(places_for(connections_of_core(within, threads)));
            assert!(files.is_none_or(|files| places <= files || within == 1), "{files:?} on {threads}");
        }
    }
}
