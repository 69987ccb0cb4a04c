//! Route 53 against moto's server, whose rules were not written by us.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openclaw_rating::agent::https::{BaseUrl, Client, ClientOptions};
use openclaw_rating::agent::traffic::{AwsKeys, PublicView, Route53, TrafficError, TrafficProvider, Written};
use openclaw_rating::agent::types::RecordState;
use tempfile::TempDir;

use crate::common::ports::free_port;
use crate::common::support::{assert_says, is_there, record, secret, until};

const NAME: &str = "www.example.com";

/// The server; killed when dropped.
struct Moto {
    child: Child,
    port: u16,
    secrets: TempDir,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From a virtual environment in the build directory, or from the path.
fn program() -> String {
    let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/moto/bin/moto_server");
    if installed.exists() { installed.display().to_string() } else { "moto_server".to_owned() }
}

fn moto() -> Option<Moto> {
    if !is_there(&program()) {
        return None;
    }
    let port = free_port();
    let child = Command::new(program())
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let moto = Moto { child, port, secrets: tempfile::tempdir().unwrap() };
    until("moto", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(moto)
}

impl Moto {
    /// Sends a body by hand, as another tool would.
    fn post(&self, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/route53/\
            aws4_request, SignedHeaders=host, Signature=0";
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n\
             Connection: close\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        answer
    }

    fn create_zone(&self) -> String {
        let body = "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
                    <Name>example.com.</Name><CallerReference>1</CallerReference></CreateHostedZoneRequest>";
        let answer = self.post("/2013-04-01/hostedzone", body);
        answer.split("<Id>/hostedzone/").nth(1).unwrap().split('<').next().unwrap().to_owned()
    }

    fn create_set(&self, zone_id: &str, inner: &str, value: &str) {
        let body = format!(
            "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
             <ChangeBatch><Changes><Change><Action>CREATE</Action><ResourceRecordSet><Name>{NAME}.</Name>\
             <Type>A</Type>{inner}<TTL>60</TTL><ResourceRecords><ResourceRecord><Value>{value}</Value>\
             </ResourceRecord></ResourceRecords></ResourceRecordSet></Change></Changes></ChangeBatch>\
             </ChangeResourceRecordSetsRequest>"
        );
        self.post(&format!("/2013-04-01/hostedzone/{zone_id}/rrset/"), &body);
    }

    fn provider(&self, zone_id: String, set_identifiers: &[&str]) -> Route53 {
        let keys = AwsKeys {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: secret(&self.secrets, "key", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        // A Python server on a busy machine takes its time.
        let options = ClientOptions { timeout: Duration::from_secs(20), ..ClientOptions::default() };
        Route53 {
            client: Client::new(&options).unwrap(),
            base: BaseUrl::new(&format!("http://127.0.0.1:{}", self.port)).unwrap(),
            keys,
            zone_id,
            name: NAME.to_owned(),
            kind: "A".to_owned(),
            set_identifiers: set_identifiers.iter().map(ToString::to_string).collect(),
            view: PublicView { servers: vec!["127.0.0.1:1".to_owned()], timeout: Duration::from_millis(100) },
            pending_change: None,
        }
    }
}

#[test]
fn a_simple_set_moves_once_and_only_from_what_is_expected() {
    let Some(moto) = moto() else { return };
    let zone_id = moto.create_zone();
    moto.create_set(&zone_id, "", "192.0.2.1");
    let mut provider = moto.provider(zone_id, &[]);
    let (before, after) = (record(NAME, &["192.0.2.1"]), record(NAME, &["198.51.100.1", "198.51.100.2"]));
    assert_eq!(provider.read().unwrap(), before);
    assert_eq!(provider.write(&before, &after).unwrap(), Written::Changed);
    assert_eq!(provider.read().unwrap().values.len(), 2);
    // The change is known and in sync, so only the zone's servers are left to ask.
    assert!(provider.pending_change.is_some());
    assert!(matches!(provider.visible(&after), Err(TrafficError::Dns(_))));
    assert!(provider.pending_change.is_none());
    assert_eq!(provider.write(&before, &after).unwrap(), Written::AlreadyThere);
    let error = provider.write(&before, &record(NAME, &["203.0.113.9"])).unwrap_err();
    assert!(matches!(error, TrafficError::Conflict { .. }), "{error}");
    let missing = moto.provider("ZNOSUCHZONE".to_owned(), &[]).read().unwrap_err();
    assert_says(&missing.to_string(), &["Route 53", "404", "names and ids"]);
}

#[test]
fn weighted_sets_change_places() {
    let Some(moto) = moto() else { return };
    let zone_id = moto.create_zone();
    moto.create_set(&zone_id, "<SetIdentifier>east</SetIdentifier><Weight>255</Weight>", "192.0.2.1");
    moto.create_set(&zone_id, "<SetIdentifier>west</SetIdentifier><Weight>0</Weight>", "198.51.100.1");
    let mut provider = moto.provider(zone_id, &["east", "west"]);
    let before = RecordState { weights: vec![255, 0], ..record(NAME, &["192.0.2.1", "198.51.100.1"]) };
    let after = RecordState { weights: vec![0, 255], ..before.clone() };
    assert_eq!(provider.read().unwrap(), before);
    assert_eq!(provider.write(&before, &after).unwrap(), Written::Changed);
    assert_eq!(provider.read().unwrap(), after);
}
