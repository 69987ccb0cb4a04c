//! Who gets in, and how listeners come and go.

use super::*;

#[test]
fn the_socket_asks_for_no_token_and_tcp_for_the_right_one() {
    let server = Server::start(accepts);
    assert_eq!(server.local("GET /v1/status", "").status, 200);
    let none = server.remote("GET /v1/status", "", "");
    assert_eq!(none.status, 401);
    assert!(none.head.contains("\r\nWWW-Authenticate: Bearer realm="), "{}", none.head);
    assert!(!none.body.contains("us-1"), "{}", none.body);
    let began = Instant::now();
    assert_eq!(server.remote("GET /v1/status", &bearer("wrong"), "").status, 401);
    assert!(began.elapsed() >= Duration::from_millis(100), "a wrong token is answered at once");
    assert_eq!(server.remote("GET /v1/status", &bearer(TOKEN), "").status, 200);
    let twice = bearer("wrong") + &bearer(TOKEN);
    assert_eq!(server.remote("GET /v1/status", &twice, "").status, 401, "two tokens are one too many");
}

#[test]
fn ipv6_is_listened_on_as_well() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        assert!(std::env::var_os("OPENCLAW_TESTS_REQUIRE_ALL").is_none(), "this host has no IPv6");
        eprintln!("skipped: this host has no IPv6");
        return;
    }
    let server = Server::start_at("[::1]:0".parse().unwrap(), Some(accepts));
    assert_eq!(server.remote("POST /v1/failover/ack", &bearer(TOKEN), "").status, 200);
    assert_eq!(server.heard(), (Command::Ack.into(), "::1 by token".to_owned()));
}

#[test]
fn the_page_is_for_browsers_and_escapes_what_the_agent_says() {
    fn evil(_: &Order) -> Result<OrderAnswer, OrderRefused> {
        let next = "<img src=x onerror=alert(1)>".to_owned();
        Ok(OrderAnswer::Status(Box::new(AgentStatus { next, ..agent_status() })))
    }
    let server = Server::start(evil);
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("me:{TOKEN}"));
    let page = server.remote("GET /", &format!("Authorization: Basic {basic}\r\n"), "");
    assert!(
        page.status == 200 && page.head.contains("text/html") && page.head.contains("default-src 'none'")
    );
    assert!(
        page.body.contains("&lt;img src=x onerror=alert(1)&gt;") && !page.body.contains("<img"),
        "{}",
        page.body
    );
    let order = server.remote("POST /v1/drain", &format!("Authorization: Basic {basic}\r\n"), "");
    assert_eq!(order.status, 401, "what a browser keeps orders something");
}

#[test]
fn the_socket_goes_with_the_server_and_the_port_is_free_again() {
    let server = Server::start(accepts);
    let (path, ListenAddr::Tcp(address)) = (server.socket(), server.tcp.address().clone()) else { panic!() };
    let Server { unix, tcp, .. } = &server;
    assert!(matches!(unix.address(), ListenAddr::Unix(_)) && matches!(tcp.address(), ListenAddr::Tcp(_)));
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(1), "it waits for a question to end");
    assert!(!path.exists() && TcpStream::connect(address).is_err());
}
