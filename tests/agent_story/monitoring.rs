//! A real Prometheus and a real Alertmanager with what is shipped for them, but for addresses and pace.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::ports::free_port;
use crate::common::support::is_there;

const ALERTMANAGER: &str = "prometheus-alertmanager";

/// Both, stopped when dropped.
pub(crate) struct Monitoring {
    running: [Child; 2],
    _directory: tempfile::TempDir,
}

/// Where they look and whom they tell.
pub(crate) struct Places<'a> {
    /// Who is scraped as the region `eu`, and who as `us`.
    pub(crate) scraped: [String; 2],
    /// The admin listener that hears of alerts.
    pub(crate) admin: String,
    pub(crate) token: &'a Path,
    /// Whoever else is told.
    pub(crate) people: String,
}

impl Monitoring {
    /// Nothing when they are not installed.
    pub(crate) fn start(places: &Places<'_>) -> Option<Self> {
        if !is_there("prometheus") || !is_there(ALERTMANAGER) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port()];
        write_files(directory.path(), places, ports[1]);
        let prometheus = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"];
        let alertmanager =
            ["--config.file=alertmanager.yml", "--storage.path=alerts", "--cluster.listen-address="];
        let run = |program: &str, arguments: &[&str], port: u16| {
            Command::new(program)
                .current_dir(directory.path())
                .args(arguments)
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let running = [run("prometheus", &prometheus, ports[0]), run(ALERTMANAGER, &alertmanager, ports[1])];
        Some(Self { running, _directory: directory })
    }
}

impl Drop for Monitoring {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn write_files(directory: &Path, places: &Places<'_>, alertmanager: u16) {
    let [eu, us] = places.scraped.each_ref().map(|address| format!("'{address}'"));
    let prometheus = shipped(
        "prometheus/prometheus.yml",
        &[
            ("scrape_interval: 5s", "scrape_interval: 1s"),
            ("evaluation_interval: 5s", "evaluation_interval: 1s"),
            ("scrape_timeout: 3s", "scrape_timeout: 1s"),
            ("127.0.0.1:9093", &format!("127.0.0.1:{alertmanager}")),
            ("'192.0.2.1:8080', '192.0.2.2:8080'", &eu),
            ("'198.51.100.1:8080', '198.51.100.2:8080'", &us),
        ],
    );
    let alertmanager = shipped(
        "alertmanager/alertmanager.yml",
        &[
            ("group_interval: 30s", "group_interval: 1s"),
            ("192.0.2.1:9096", &places.admin),
            ("198.51.100.1:9096", &places.people),
            ("192.0.2.9:9099", &places.people),
            ("/etc/alertmanager/openclaw-admin.token", &places.token.display().to_string()),
        ],
    );
    let files = [
        ("prometheus.yml", prometheus),
        ("rules.yml", shipped("prometheus/rules.yml", &[])),
        ("alertmanager.yml", alertmanager),
    ];
    for (name, text) in files {
        std::fs::write(directory.join(name), text).unwrap();
    }
}

/// A file as it is shipped, with other words in some places.
fn shipped(path: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
    changes.iter().fold(std::fs::read_to_string(path).unwrap(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not shipped any more");
        text.replace(from, to)
    })
}
