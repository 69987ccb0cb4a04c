//! Promises of the data plane that need no socket.

use super::*;

#[test]
fn the_threads_together_have_room_for_the_connections_that_are_allowed() {
    for (max_connections, threads, of_core) in
        [(1, 1, 1), (3, 2, 3), (1, 4, 1), (10, 2, 8), (16_384, 4, 6144), (1_048_576, 1, 1_048_576)]
    {
        let config = DataPlaneConfig {
            listen: Vec::new(),
            threads,
            pin: false,
            max_connections,
            backlog: 1,
            idle_timeout: Duration::ZERO,
            header_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
        };
        assert_eq!(config.connections_of_core(), of_core, "{max_connections} on {threads}");
    }
}
