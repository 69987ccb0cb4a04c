//! Two real servers in two regions, with real DNS and a stand-in for the pager.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::common::dns::{Dns, KEY, NAME};
use crate::common::fake::tls_config;
use crate::common::front::Front;
use crate::common::pager::Pager;
use crate::common::ports::free_port;
use crate::common::program::{Program, command, sees_healthy};

pub(crate) const EU: &str = "127.0.1.1";
pub(crate) const US: &str = "127.0.1.2";
pub(crate) const PAGE_KEY: &str = "openclaw-rating:rates:failover:eu";

/// One story at a time: two cores run all of it.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) struct Story {
    pub(crate) dns: Dns,
    pub(crate) pager: Pager,
    pub(crate) secrets: tempfile::TempDir,
    /// Of both regions' servers, each on an address of its own.
    pub(crate) port: u16,
    link_ports: [u16; 2],
    /// What speaks TLS before both servers, and the port where it does.
    front: Option<(u16, [Front; 2])>,
    _one: MutexGuard<'static, ()>,
}

/// The secrets that nodes and their agents have, and `more`, in files of these names.
pub(crate) fn secrets(more: &[(&str, &str)]) -> tempfile::TempDir {
    let secrets = tempfile::tempdir().unwrap();
    let usual = [
        ("cluster", &*"ab".repeat(32)),
        ("tsig", KEY),
        ("routing", "the-routing-key"),
        ("rest", "the-rest-key"),
    ];
    for (name, text) in usual.iter().chain(more) {
        fs::write(secrets.path().join(name), text).unwrap();
    }
    secrets
}

impl Story {
    pub(crate) fn begin() -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dns = Dns::start("127.0.0.1", EU)?;
        let secrets = secrets(&[]);
        let link_ports = [free_port(), free_port()];
        let (pager, port) = (Pager::start(), free_port());
        Some(Self { dns, pager, secrets, port, link_ports, front: None, _one: one })
    }

    /// Whoever asks a region, or the public name, does it over TLS from here on.
    pub(crate) fn behind_tls(mut self) -> Self {
        let (tls, authority) = tls_config(&[EU, US, NAME]);
        fs::write(self.secrets.path().join("authority"), authority).unwrap();
        let port = free_port();
        self.front = Some((port, [EU, US].map(|address| Front::start(address, port, self.port, &tls))));
        self
    }

    /// Requests that came over TLS, by region.
    pub(crate) fn passed(&self) -> [usize; 2] {
        self.front.as_ref().map_or([0; 2], |(_, fronts)| [fronts[0].passed(), fronts[1].passed()])
    }

    fn config(&self, id: usize, agent: &str) -> String {
        let (own, other) = (id - 1, 2 - id);
        let (names, secrets) = (["eu", "us"], self.secrets.path().display());
        let Self { port, link_ports, front, .. } = self;
        let plain = ("http", *port, String::new());
        let (scheme, port, http) = front.as_ref().map_or(plain, |(port, _)| {
            ("https", *port, format!("[agent.http]\nca_file = \"{secrets}/authority\""))
        });
        let (dns, pager) = (self.dns.port, self.pager.fake.address);
        let traffic = self.dns.traffic_section(&self.secrets.path().join("tsig"));
        format!(
            r#"
            [server]
            threads = 1
            [table]
            capacity = 1000
            [[policy]]
            name = "api"
            rate = "1000/s"
            burst = 2000
            [node]
            id = {id}
            name = "node-{id}"
            region = "{own_name}"
            [state]
            directory = "state"
            [cluster]
            secret_file = "{secrets}/cluster"
            listen = "127.0.0.1:{own_port}"
            [[peer]]
            id = {other_id}
            region = "{other_name}"
            address = "127.0.0.1:{other_port}"
            [agent]
            cluster = "rates"
            {agent}
            {http}
            [[agent.region]]
            name = "eu"
            values = ["{EU}"]
            health = ["{scheme}://{EU}:{port}/health"]
            [[agent.region]]
            name = "us"
            values = ["{US}"]
            health = ["{scheme}://{US}:{port}/health"]
            [agent.public]
            url = "{scheme}://{NAME}:{port}/health"
            resolvers = ["127.0.0.1:{dns}"]
            [agent.validation]
            policy = "api"
            rate = 20
            duration = "500ms"
            max_p99 = "2s"
            {traffic}
            [agent.pagerduty]
            events_api = "http://{pager}"
            rest_api = "http://{pager}"
            routing_key_file = "{secrets}/routing"
            rest_key_file = "{secrets}/rest"
            [[agent.link]]
            text = "Runbook"
            href = "https://wiki.example.com/rates"
            "#,
            own_name = names[own],
            other_name = names[other],
            own_port = link_ports[own],
            other_port = link_ports[other],
            other_id = other + 1,
        )
    }

    pub(crate) fn start_in(&self, directory: tempfile::TempDir, id: usize, agent: &str) -> Program {
        let listen = format!("server.listen=\"{}:{}\"", [EU, US][id - 1], self.port);
        Program::launch(directory, Some(&self.config(id, agent)), &["--set", &listen])
    }

    /// Both regions, once each sees the other.
    pub(crate) fn start_both(&self, agent: &str) -> [Program; 2] {
        self.start_each([agent, agent])
    }

    /// The same, each with settings of its own.
    pub(crate) fn start_each(&self, agents: [&str; 2]) -> [Program; 2] {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        self.start_each_in(directories, agents)
    }

    pub(crate) fn start_each_in(
        &self,
        directories: [tempfile::TempDir; 2],
        agents: [&str; 2],
    ) -> [Program; 2] {
        let [eu, us] = directories;
        let nodes = [self.start_in(eu, 1, agents[0]), self.start_in(us, 2, agents[1])];
        for node in &nodes {
            node.until("/metrics", |page| ["eu", "us"].iter().all(|region| sees_healthy(page, region)));
        }
        nodes
    }

    pub(crate) fn triggers(&self) -> usize {
        self.pager.events().iter().filter(|(kind, key, _)| kind == "trigger" && key == PAGE_KEY).count()
    }
}

pub(crate) fn reports(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory.join("state/reports")).into_iter().flatten();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

pub(crate) fn audit_is_good(directory: &Path) {
    let output = command(directory).args(["audit", "verify"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}
