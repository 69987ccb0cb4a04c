//! What several suites stand on: the program and its peers as processes, stand-ins for the services that the agent
//! calls, ports, networks and disks of their own. All of it cleans up what it started.
#![allow(dead_code, reason = "a suite uses a part of it")]

pub(crate) mod disk;
pub(crate) mod dns;
pub(crate) mod fake;
pub(crate) mod front;
pub(crate) mod namespace;
pub(crate) mod pager;
pub(crate) mod ports;
pub(crate) mod program;
pub(crate) mod relay;
pub(crate) mod seeds;
pub(crate) mod settings;
pub(crate) mod story;
pub(crate) mod support;
