//! What deploy/nginx ships: nginx asks for a token before it passes a request on, whatever the request has in it.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use common::program::{PATIENCE, Program};

const EXAMPLE: &str = include_str!("../deploy/nginx/rating.conf");
const BURST: usize = 3;

/// nginx with the example, killed when dropped.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nginx {
    /// Listens on `web.sock` in `directory`, where the server has `check.sock`; `None` where there is no nginx.
    fn start(directory: &Path) -> Option<Self> {
        let in_directory = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let mut example = EXAMPLE.to_owned();
        for (from, to) in [
            ("unix:/run/openclaw-rating.sock", format!("unix:{}", in_directory("check.sock"))),
            ("listen 127.0.0.1:8088", format!("listen unix:{}", in_directory("web.sock"))),
            ("proxy_pass http://127.0.0.1:9000", "return 200 application".to_owned()),
            // However slow the host of this test is, no request passes for that.
            ("timeout 250ms", "timeout 20s".to_owned()),
        ] {
            assert!(example.contains(from), "{from}");
            example = example.replace(from, &to);
        }
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", in_directory("temporary")));
        // One process, so that none outlives the test; `user` counts for root alone.
        let config = format!(
            "daemon off;\nmaster_process off;\nuser root;\npid {};\nerror_log {};\nevents {{}}\n\
             http {{\naccess_log off;\n{}{example}}}\n",
            in_directory("nginx.pid"),
            in_directory("nginx.log"),
            temporary.concat(),
        );
        fs::write(directory.join("nginx.conf"), config).unwrap();
        // Where Debian has it, which is not on the path of everyone.
        let debian = Path::new("/usr/sbin/nginx");
        let mut command = Command::new(if debian.exists() { debian } else { Path::new("nginx") });
        command.arg("-p").arg(directory).arg("-e").arg(directory.join("nginx.log"));
        match command.arg("-c").arg(directory.join("nginx.conf")).spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                assert!(std::env::var_os("OPENCLAW_TESTS_REQUIRE_ALL").is_none(), "nginx: {error}");
                eprintln!("skipped: nginx is not installed");
                None
            }
        }
    }
}

/// The status of a request with these header lines.
fn ask(directory: &Path, fields: &str) -> String {
    let until = Instant::now() + PATIENCE;
    let mut stream = loop {
        match UnixStream::connect(directory.join("web.sock")) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() < until => {
                assert!(!matches!(error.kind(), std::io::ErrorKind::PermissionDenied), "{error}");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(error) => panic!("{error}: {:?}", fs::read_to_string(directory.join("nginx.log"))),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn the_example_for_nginx_limits_a_client_whatever_it_sends() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "[server]\nthreads = 1\n[table]\ncapacity = 1000\n\
         [[policy]]\nname = \"api\"\nrate = \"1/day\"\nburst = {BURST}\n"
    );
    let listen = "server.listen=[\"127.0.0.1:0\", \"unix:check.sock\"]";
    let server = Program::launch(directory, Some(&config), &["serve", "--set", listen]);
    let directory = server.directory();
    let Some(_nginx) = Nginx::start(directory) else { return };
    let statuses: Vec<String> = (0..=BURST).map(|_| ask(directory, "")).collect();
    assert_eq!(statuses, ["200", "200", "200", "429"]);
    let many: String = (0..70).map(|number| format!("X-{number}: 1\r\n")).collect();
    let long = format!("Cookie: {0}\r\nX: {0}\r\n", "c".repeat(7000));
    for fields in [many.as_str(), &long, "X: a\x01b\r\n", "Content-Length: 0\r\n"] {
        assert_eq!(ask(directory, fields), "429", "{fields:?}");
    }
}
