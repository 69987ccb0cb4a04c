//! Buckets in memory that the service manager keeps: made, handed on, and read at the next start.

use std::sync::Arc;

use tracing::{info, warn};

use crate::bucket::kept::{KeptError, KeptTable, Provenance};
use crate::bucket::policy::PolicySet;
use crate::bucket::table::BucketTable;
use crate::durability::{HostTime, Kept, restore_kept};
use crate::service_manager::{HandedMemory, STORED_TABLE, ServiceManager};
use crate::time::{Clock as _, SystemClock};

/// What a table of this process is of.
pub(super) fn provenance(key_print: [u8; 16], clock: SystemClock) -> Provenance {
    Provenance { key_print, boot_id: HostTime::read().boot_id, origin_ns: clock.origin_on_host() }
}

/// Memory for `lines`, where there is a manager to keep it.
pub(super) fn create(
    manager: &ServiceManager,
    lines: usize,
    provenance: &Provenance,
) -> Option<Arc<KeptTable>> {
    if !manager.is_there() {
        return None;
    }
    KeptTable::create(lines, provenance)
        .map_err(|error| warn!("no memory that outlives the process: {error}; a snapshot has to do"))
        .map(Arc::new)
        .ok()
}

/// Puts the buckets of former processes into `table`; whether there was any table to be read.
pub(super) fn restore(
    handed: &[HandedMemory],
    here: &Provenance,
    table: &BucketTable,
    policies: &PolicySet,
    kept: &Kept,
    clock: SystemClock,
) -> bool {
    let mut any = false;
    for HandedMemory { name, file } in handed {
        let opened = file.try_clone().map_err(KeptError::Map).and_then(KeptTable::open);
        match opened.and_then(|old| restore_kept(&old, here, table, policies, kept, clock.now())) {
            Ok((restored, found)) => {
                any = true;
                info!("restored {restored} of {found} buckets from memory that outlived its process");
            }
            Err(refusal) => warn!("the buckets in {name} are not used: {refusal}"),
        }
    }
    any
}

/// Has `new` kept, and then what it replaces forgotten: a process that ends in between leaves both.
pub(super) fn hand_on(
    manager: &ServiceManager,
    new: Option<&KeptTable>,
    provenance: &Provenance,
    old: &[HandedMemory],
) {
    if let Some(new) = new {
        manager.keep(&format!("{STORED_TABLE}-{}", provenance.origin_ns), new.file());
    }
    old.iter().for_each(|memory| manager.forget(&memory.name));
}
