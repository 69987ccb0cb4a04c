//! What is asked and ordered, and who hears of it.

use super::*;

#[test]
fn a_drain_changes_health_alone_and_only_an_order_to_drain_is_undone() {
    let server = Server::start(accepts);
    assert_eq!(server.local("POST /v1/drain", "").json()["draining"], true);
    assert!(!server.health.is_good() && server.health.is_draining());
    assert_eq!(server.health.reasons().collect::<Vec<_>>(), [Reason::DrainOrdered]);
    assert_eq!(server.local("GET /v1/status", "").json()["reasons"], json!(["draining by order"]));
    assert_eq!(server.local("POST /v1/undrain", "").status, 200);
    assert!(server.health.is_good());
    // A server that stops is not talked out of it.
    server.health.set(Reason::Draining, true);
    let said = server.local("POST /v1/undrain", "").json();
    assert!(said["what"].as_str().unwrap().contains("other reasons"), "{said}");
    assert!(server.health.is_draining());
}

#[test]
fn a_reset_fills_the_bucket_and_says_what_was_given_back() {
    let server = Server::start(accepts);
    assert!(server.charge(100) && !server.charge(1));
    let reset = server.local("DELETE /v1/buckets/p/k", "").json();
    assert_eq!((&reset["existed"], &reset["peers_keep_theirs"]), (&json!(true), &json!(false)));
    assert!((99.0..=100.0).contains(&reset["given_back"].as_f64().unwrap()), "{reset}");
    assert!(server.charge(100) && !server.charge(1));
    assert_eq!(server.local("GET /v1/buckets/p/k", "").json()["used_here"], 200);
    assert_eq!(server.local("DELETE /v1/buckets/p/nobody", "").json()["existed"], false);
    assert_eq!(server.local("DELETE /v1/buckets/q/k", "").status, 404);
}

#[test]
fn a_reload_answers_with_what_came_of_it() {
    let server = Server::start(accepts);
    let reloads = server.reloads.clone();
    let main = std::thread::spawn(move || {
        let outcomes = [
            Ok(Reloaded { policies: 3, waiting_for_restart: vec!["log".to_owned()] }),
            Err(vec!["line 3: no".to_owned(), "line 4: no".to_owned()]),
        ];
        for outcome in outcomes {
            let ReloadRequest { reply } = reloads.recv_timeout(PATIENCE).unwrap();
            reply.try_send(outcome).unwrap();
        }
    });
    let reloaded = server.local("POST /v1/reload", "").json();
    assert_eq!(reloaded, json!({"policies": 3, "waiting_for_restart": ["log"]}));
    let refused = server.local("POST /v1/reload", "");
    assert_eq!(refused.status, 409);
    assert!(refused.detail().contains("line 3: no; line 4: no"), "{}", refused.body);
    main.join().unwrap();
}

#[test]
fn orders_reach_the_agent_with_who_gave_them() {
    let server = Server::start(accepts);
    let start = json!({"from": "eu", "to": "us", "why": "disk", "who": "ada"}).to_string();
    let taken = server.local("POST /v1/failover/start", &start);
    assert_eq!(taken.json(), json!({"answer": "accepted", "what": "start is taken"}));
    let (order, who) = server.heard();
    let (from, to) = (Region("eu".to_owned()), Some(Region("us".to_owned())));
    assert_eq!(order, Command::Start { from, to, why: "disk".to_owned() }.into());
    let uid = rustix::process::getuid().as_raw();
    assert!(who.starts_with(&format!("uid {uid}")) && who.ends_with("who says to be \"ada\""), "{who}");
    server.remote("POST /v1/failover/thaw", &bearer(TOKEN), "");
    assert_eq!(server.heard(), (Command::Thaw.into(), "127.0.0.1 by token".to_owned()));
    let bad = server.local("POST /v1/failover/start", "{\"from\":");
    assert!(bad.status == 400 && server.heard.is_empty(), "{bad:?}");
    let status = server.local("GET /v1/failover", "").json();
    let found: OrderAnswer = serde_json::from_value(status).unwrap();
    assert_eq!(found, OrderAnswer::Status(Box::new(agent_status())));
}

#[test]
fn the_agents_refusal_arrives_in_its_words() {
    let server = Server::start(refuses);
    let refused = server.local("POST /v1/failover/ack", "");
    assert!(
        refused.status == 409 && refused.detail().starts_with("there is no incident to ack"),
        "{refused:?}"
    );
    assert_eq!(refused.json()["refusal"]["refused"], "no_incident");
}

#[test]
fn without_an_agent_there_are_words_and_a_status() {
    let server = Server::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), None);
    let refused = server.local("POST /v1/failover/ack", "");
    assert!(refused.status == 503 && refused.detail().contains("add an [agent] section"), "{refused:?}");
    assert_eq!(server.local("GET /v1/status", "").json()["agent"], json!({"state": "none"}));
    assert_eq!(server.local("GET /v1/witness/eu", "").status, 504, "no agent is no vote");
}

#[test]
fn a_witness_says_what_it_sees_and_its_token_opens_nothing_else() {
    let server = Server::start(accepts);
    let ask = |region: &str| server.remote(&format!("GET /v1/witness/{region}"), &bearer(WITNESS), "");
    let seen = ask("us");
    assert_eq!((seen.status, seen.json()), (200, json!({"answer": "seen", "region": "us", "healthy": true})));
    assert_eq!((ask("eu").status, ask("mars").status), (503, 404));
    assert_eq!(server.remote("GET /v1/witness/us", &bearer(TOKEN), "").status, 200);
    assert_eq!(server.remote("GET /v1/witness/us", "", "").status, 401);
    assert_eq!(server.remote("GET /v1/status", &bearer(WITNESS), "").status, 401);
    assert_eq!(server.remote("POST /v1/failover/ack", &bearer(ALERTMANAGER), "").status, 401);
}
