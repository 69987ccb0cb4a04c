//! Settings that several suites begin with, and how they are read.

use std::fs;
use std::path::Path;

use openclaw_rating::config::{self, Config, Problems, Sources};

/// An agent of two regions that says only what it must.
pub(crate) const AGENT: &str = r#"
[agent]
cluster = "rates"
[[agent.region]]
name = "eu"
values = ["192.0.2.1"]
health = ["http://192.0.2.1:8080/health"]
[[agent.region]]
name = "us"
values = ["192.0.2.2"]
health = ["http://192.0.2.2:8080/health"]
[agent.public]
url = "https://rates.example.com"
[agent.traffic]
provider = "exec"
command = ["/bin/true"]
"#;

/// Reads `text` from a file in `directory`, which it names `DIR`, with each of `sets` as `--set` has it.
pub(crate) fn load_in(directory: &Path, text: &str, sets: &[String]) -> Result<Config, Problems> {
    let file = directory.join("c.toml");
    fs::write(&file, text.replace("DIR", directory.to_str().unwrap())).unwrap();
    config::load(&Sources { file: Some(file), sets: sets.to_vec(), ..Sources::default() })
}
