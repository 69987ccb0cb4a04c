//! Two regions, the world that asks for them, and the cables between all of these.
//!
//! Each host is a network namespace. Everybody is plugged into the world's switch; the regions are joined by
//! a switch of their own besides, over which they replicate and look at each other. In the world are BIND, the
//! pager and a third node, which serves nobody and is the witness.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Clients;
use crate::common::dns::{Dns, NAME};
use crate::common::namespace::{self, Namespace};
use crate::common::pager::Pager;
use crate::common::program::{Program, command, sees_healthy};
use crate::common::story::secrets;
use crate::common::support::until;

pub(crate) const EU: usize = 0;
pub(crate) const US: usize = 1;
const NAMES: [&str; 2] = ["eu", "us"];
const WORLD: &str = "10.90.0.3";
const CLIENT: &str = "10.90.0.4";
const PORT: u16 = 8080;
const ADMIN_PORT: u16 = 9090;

/// One story at a time: two cores run all of it.
static ONE: Mutex<()> = Mutex::new(());

/// A region's host and what runs there.
pub(crate) struct Site {
    host: Namespace,
    node: Option<Program>,
    directory: Option<tempfile::TempDir>,
    /// The ports of the world's switch and of the regions' own.
    ports: [String; 2],
}

/// Fields end in this order: programs before their hosts.
pub(crate) struct World {
    clients: Option<Clients>,
    pub(crate) sites: [Site; 2],
    _witness: Option<Program>,
    pager: Option<Pager>,
    dns: Dns,
    secrets: tempfile::TempDir,
    host: Namespace,
    _client_host: Namespace,
    /// The world's and the regions' own.
    switches: [Namespace; 2],
    _one: MutexGuard<'static, ()>,
}

/// Where clients find a region.
pub(crate) fn address(region: usize) -> IpAddr {
    Ipv4Addr::new(10, 90, 0, region as u8 + 1).into()
}

/// Where the other region finds it.
fn inner_address(region: usize) -> IpAddr {
    Ipv4Addr::new(10, 90, 1, region as u8 + 1).into()
}

impl World {
    /// All of it, once everybody sees everybody; nothing where that cannot be had.
    pub(crate) fn begin() -> Option<Self> {
        if !namespace::can_be_made() {
            return None;
        }
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let switches = [(); 2].map(|()| Namespace::create().into_switch());
        let [host, client_host] = [(); 2].map(|()| Namespace::create());
        switches[0].plug_in(&host, &format!("{WORLD}/24"));
        switches[0].plug_in(&client_host, &format!("{CLIENT}/24"));
        let dns = host.inside(|| Dns::start(WORLD, &address(EU).to_string()))?;
        let (pager, authority) = host.inside(|| Pager::start_tls(WORLD));
        let clients = Clients::start(&client_host, SocketAddr::new(WORLD.parse().unwrap(), dns.port), PORT);
        let sites = [EU, US].map(|region| Site::plug_in(region, &switches));
        let mut world = Self {
            clients: Some(clients),
            sites,
            _witness: None,
            pager: Some(pager),
            dns,
            secrets: secrets(&[
                ("admin", "the-token-of-the-admin-listener"),
                ("pager.pem", &authority),
                ("witness", "the-token-of-those-who-ask-the-witness"),
            ]),
            host,
            _client_host: client_host,
            switches,
            _one: one,
        };
        world._witness = Some(world.start_witness());
        for region in [EU, US] {
            world.start(region);
        }
        for region in [EU, US] {
            world.until_seen(region, [EU, US]);
        }
        Some(world)
    }

    pub(crate) fn clients(&self) -> &Clients {
        self.clients.as_ref().unwrap()
    }

    pub(crate) fn pager(&self) -> &Pager {
        self.pager.as_ref().unwrap()
    }

    /// The zone's serial number: one more with each change.
    pub(crate) fn serial(&self) -> u32 {
        self.host.inside(|| self.dns.serial())
    }

    /// Kinds of the events about the failover of a region.
    pub(crate) fn events(&self, region: usize) -> Vec<String> {
        let key = format!("openclaw-rating:rates:failover:{}", NAMES[region]);
        let of_it = self.pager().events().into_iter().filter(|(_, found, _)| *found == key);
        of_it.map(|(kind, ..)| kind).collect()
    }

    pub(crate) fn until_event(&self, region: usize, kind: &str) {
        until(kind, || self.events(region).iter().any(|found| found == kind));
    }

    fn launch(&self, host: &Namespace, directory: tempfile::TempDir, config: &str) -> Program {
        let listen = format!("server.listen=\"0.0.0.0:{PORT}\"");
        host.inside(|| Program::launch(directory, Some(config), &["--set", &listen]))
    }

    fn start_witness(&self) -> Program {
        let secrets = self.secrets.path().display();
        let region = "ap";
        let own = format!(
            r#"
            [node]
            id = 3
            name = "witness"
            region = "{region}"
            [admin]
            listen = "{WORLD}:{ADMIN_PORT}"
            token_file = "{secrets}/admin"
            witness_token_file = "{secrets}/witness"
            "#
        );
        let config = self.config(&own, "mode = \"observe\"", address);
        self.launch(&self.host, tempfile::tempdir().unwrap(), &config)
    }

    /// Starts the node of a region, in the directory that it had before.
    pub(crate) fn start(&mut self, region: usize) {
        let (number, other) = (region + 1, 1 - region);
        let secrets = self.secrets.path().display();
        let own = format!(
            r#"
            [node]
            id = {number}
            name = "node-{number}"
            region = "{name}"
            [cluster]
            secret_file = "{secrets}/cluster"
            listen = "{listen}:7946"
            [[peer]]
            id = {other_number}
            region = "{other_name}"
            address = "{other_address}:7946"
            "#,
            name = NAMES[region],
            listen = inner_address(region),
            other_number = other + 1,
            other_name = NAMES[other],
            other_address = inner_address(other),
        );
        let agent = format!(
            r#"
            mode = "automatic"
            [[agent.witness]]
            url = "http://{WORLD}:{ADMIN_PORT}/v1/witness/{{region}}"
            token_file = "{secrets}/witness"
            [agent.pagerduty]
            events_api = "https://{pager}"
            rest_api = "https://{pager}"
            routing_key_file = "{secrets}/routing"
            rest_key_file = "{secrets}/rest"
            [agent.http]
            ca_file = "{secrets}/pager.pem"
            "#,
            pager = self.pager().fake.address,
        );
        let config = self.config(&own, &agent, inner_address);
        let directory = self.sites[region].directory.take().unwrap_or_else(|| tempfile::tempdir().unwrap());
        let node = self.launch(&self.sites[region].host, directory, &config);
        self.sites[region].node = Some(node);
    }

    /// `seen_at`: where this node looks at the regions. All that is not said here is left as it comes.
    fn config(&self, own: &str, agent: &str, seen_at: fn(usize) -> IpAddr) -> String {
        let dns = self.dns.port;
        let traffic = self.dns.traffic_section(&self.secrets.path().join("tsig"));
        let regions: String = [EU, US]
            .map(|region| {
                let (name, value, seen_at) = (NAMES[region], address(region), seen_at(region));
                format!(
                    "[[agent.region]]\nname = \"{name}\"\nvalues = [\"{value}\"]\n\
                     health = [\"http://{seen_at}:{PORT}/health\"]\n"
                )
            })
            .concat();
        format!(
            r#"
            {own}
            [server]
            threads = 1
            # All hosts share this machine's cores, the first one most of all.
            pin = false
            [table]
            capacity = 1000
            [[policy]]
            name = "api"
            rate = "1000/s"
            burst = 2000
            [state]
            directory = "state"
            [agent]
            cluster = "rates"
            {agent}
            {regions}
            [[agent.region]]
            name = "ap"
            values = ["{WORLD}"]
            health = ["http://{WORLD}:{PORT}/health"]
            [agent.public]
            url = "http://{NAME}:{PORT}/health"
            resolvers = ["{WORLD}:{dns}"]
            [agent.validation]
            max_p99 = "2s"
            {traffic}
            "#,
        )
    }

    /// Waits until the agent in region `by` sees each of `regions` healthy.
    pub(crate) fn until_seen<const N: usize>(&self, by: usize, regions: [usize; N]) {
        let Site { host, node, .. } = &self.sites[by];
        host.inside(|| {
            let node = node.as_ref().unwrap();
            node.until("/metrics", |page| regions.iter().all(|region| sees_healthy(page, NAMES[*region])));
        });
    }

    /// Pulls the cable over which the regions replicate and see each other.
    pub(crate) fn cut_link(&self) {
        self.switches[1].down(&self.sites[EU].ports[1]);
    }

    pub(crate) fn mend_link(&self) {
        self.switches[1].up(&self.sites[EU].ports[1]);
    }

    /// Takes the power from a region's host: nobody is there to refuse a connection.
    pub(crate) fn power_off(&mut self, region: usize) -> Instant {
        let Site { ports, .. } = &self.sites[region];
        for (switch, port) in self.switches.iter().zip(ports) {
            switch.down(port);
        }
        let off = Instant::now();
        self.kill(region);
        off
    }

    /// Kills a region's node with SIGKILL.
    pub(crate) fn kill(&mut self, region: usize) {
        let site = &mut self.sites[region];
        let mut node = site.node.take().unwrap();
        node.signal(Signal::KILL);
        node.exit_code();
        site.directory = Some(node.into_directory());
        // The kernel lets go of a killed process's ring, and of the sockets in it, a moment later.
        let is_free = || site.host.inside(|| TcpListener::bind(("0.0.0.0", PORT)).is_ok());
        until("the port", is_free);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.clients = None;
        // It calls itself to end.
        let pager = self.pager.take();
        self.host.inside(|| drop(pager));
    }
}

impl Site {
    fn plug_in(region: usize, switches: &[Namespace; 2]) -> Self {
        let host = Namespace::create();
        let plug = |switch: &Namespace, address: IpAddr| switch.plug_in(&host, &format!("{address}/24")).0;
        let ports = [plug(&switches[0], address(region)), plug(&switches[1], inner_address(region))];
        Self { host, node: None, directory: None, ports }
    }

    /// Runs the program's own command beside the node, in its directory.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        command(self.node.as_ref().unwrap().directory()).args(arguments).output().unwrap()
    }

    /// The text of its reports of incidents, Markdown and HTML.
    pub(crate) fn reports(&self) -> Vec<String> {
        let directory = self.node.as_ref().unwrap().directory().join("state/reports");
        let files = fs::read_dir(directory).into_iter().flatten().map(|file| file.unwrap().path());
        let is_text =
            |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "md" || end == "html");
        files.filter(is_text).map(|path| fs::read_to_string(path).unwrap()).collect()
    }
}

/// Holds for `length`, looked at four times a second.
pub(crate) fn stays(what: &str, length: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        assert!(holds(), "{what} does not stay so");
        std::thread::sleep(Duration::from_millis(250));
    }
}
