//! New policies for a running server, all of them or none.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::Server;
use super::foundation::own_parts;
use crate::admin::Reloaded;
use crate::bucket::policy::{PolicyError, PolicySpec};
use crate::config::{self, Problems};
use crate::counted::counted;
use crate::time::Clock as _;

/// Why a reload is refused.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("{0}")]
    Config(#[from] Problems),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Policies that were put in force, and the sections whose changes were not.
struct Loaded {
    policies: Vec<PolicySpec>,
    waiting_for_restart: Vec<String>,
}

impl Server<'_> {
    /// Puts the policies of the sources as they are now in force, or keeps the old ones and says why.
    pub(super) fn reload(&mut self) -> Result<Reloaded, Vec<String>> {
        self.supervision.reloading();
        let loaded = self.load_again();
        self.reloads.count(loaded.is_ok());
        self.supervision.reloaded(loaded.as_ref().ok().map(|loaded| self.serving(&loaded.policies)));
        let problems = match loaded {
            Ok(Loaded { policies, waiting_for_restart }) => {
                info!("reloaded: {} in force", counted(policies.len(), "policy", "policies"));
                return Ok(Reloaded { policies: policies.len(), waiting_for_restart });
            }
            Err(ReloadError::Config(problems)) => problems.iter().map(ToString::to_string).collect(),
            Err(refusal) => vec![refusal.to_string()],
        };
        problems.iter().for_each(|problem| error!("{problem}"));
        let count = counted(problems.len(), "problem", "problems");
        error!("reload refused, the old policies stay in force: {count}");
        Err(problems)
    }

    fn load_again(&mut self) -> Result<Loaded, ReloadError> {
        let new = config::load_again(self.sources, &self.config.node.region)?;
        let policies = Arc::new(
            self.policies
                .load()
                .reload(&own_parts(&new.policies, self.config.cluster.as_ref())?, self.clock.now())?,
        );
        let fixed = self.config.needs_restart(&new);
        if !fixed.is_empty() {
            warn!("changes in [{}] take effect at the next restart", fixed.join("], ["));
        }
        // The table must know a limit before a data thread charges by it, and so must who tells the peers of it.
        self.table.publish_limits(&policies);
        self.former_policies = Some(self.policies.swap(Arc::clone(&policies)));
        self.data_plane.publish_policies(&policies);
        let waiting_for_restart = fixed.into_iter().map(str::to_owned).collect();
        Ok(Loaded { policies: new.policies, waiting_for_restart })
    }
}
