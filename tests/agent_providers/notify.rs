//! Chat rooms, webhooks and the summary.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openclaw_rating::agent::https::{Client, RetryPolicy};
use openclaw_rating::agent::notify::{
    Facts, Notifier, Slack, SlackBot, SlackRoute, Summariser, Telegram, Update, Webhook, template,
};
use openclaw_rating::agent::secret::SecretSource;
use openclaw_rating::agent::types::IncidentId;
use serde_json::json;
use tempfile::TempDir;

use crate::common::fake::{Answer, Asked, Fake, Fault, json as answer, status, text, too_many};
use crate::common::support::{assert_says, client, options, secret};

fn update(headline: &str, step: &str, is_last: bool) -> Update {
    let (incident, headline) = (IncidentId("i1".to_owned()), headline.to_owned());
    Update { incident, headline, steps: vec![step.to_owned()], is_last }
}

/// Messages by their time stamp or number; `None` for the root of a thread.
type Messages = Arc<Mutex<BTreeMap<String, (Option<String>, String)>>>;

fn slack_api(messages: &Messages) -> Fake {
    let messages = Arc::clone(messages);
    Fake::start(move |asked| slack_answer(&mut messages.lock().unwrap(), asked))
}

fn slack_answer(messages: &mut BTreeMap<String, (Option<String>, String)>, asked: &Asked) -> Answer {
    let refusal = |error: &str| answer(200, &json!({"ok": false, "error": error}));
    assert_eq!(
        (asked.method.as_str(), asked.header("content-type")),
        ("POST", "application/json; charset=utf-8")
    );
    if asked.header("authorization") != "Bearer xoxb-good" {
        return refusal("invalid_auth");
    }
    let body = asked.json();
    let text = body["text"].as_str().unwrap().to_owned();
    match asked.target.as_str() {
        "/chat.postMessage" => {
            if !matches!(body["channel"].as_str().unwrap(), "ops" | "C024BE91L") {
                return refusal("channel_not_found");
            }
            let ts = format!("1700000000.{:06}", messages.len());
            messages.insert(ts.clone(), (body["thread_ts"].as_str().map(str::to_owned), text));
            answer(200, &json!({"ok": true, "channel": "C024BE91L", "ts": ts, "message": {}}))
        }
        "/chat.update" => {
            assert_eq!(body["channel"], "C024BE91L", "an update needs the channel's id");
            let ts = body["ts"].as_str().unwrap();
            let Some(message) = messages.get_mut(ts) else { return refusal("message_not_found") };
            message.1 = text;
            answer(200, &json!({"ok": true, "channel": "C024BE91L", "ts": ts, "text": "x"}))
        }
        other => panic!("{other}"),
    }
}

fn slack_bot(fake: &Fake, directory: &TempDir, token: &str, channel: &str) -> Slack {
    let bot =
        SlackBot { base: fake.base(), token: secret(directory, token, token), channel: channel.to_owned() };
    Slack::new(client(), SlackRoute::Bot(bot))
}

#[test]
fn a_slack_bot_keeps_one_message_an_incident_and_a_thread_below_it() {
    let (messages, directory) = (Messages::default(), tempfile::tempdir().unwrap());
    let fake = slack_api(&messages);
    let mut slack = slack_bot(&fake, &directory, "xoxb-good", "ops");
    slack.tell(&update("eu <is> dark", "paged & waiting", false)).unwrap();
    slack.tell(&update("moving to us", "acknowledged", false)).unwrap();
    slack.tell(&update("recovered", "validated", true)).unwrap();
    let seen: Vec<_> = messages.lock().unwrap().values().cloned().collect();
    let root = Some("1700000000.000000".to_owned());
    assert_eq!(
        seen,
        [
            (None, "recovered".to_owned()),
            (root.clone(), "moving to us\n• acknowledged".to_owned()),
            (root, "recovered\n• validated".to_owned()),
        ]
    );
    assert_eq!(fake.asked()[0].json()["text"], "eu &lt;is&gt; dark\n• paged &amp; waiting");
    slack.tell(&update("again", "x", true)).unwrap();
    assert_eq!(messages.lock().unwrap().values().filter(|(thread, _)| thread.is_none()).count(), 2);
}

#[test]
fn a_message_that_somebody_deleted_is_posted_anew() {
    let (messages, directory) = (Messages::default(), tempfile::tempdir().unwrap());
    let fake = slack_api(&messages);
    let mut slack = slack_bot(&fake, &directory, "xoxb-good", "ops");
    slack.tell(&update("dark", "paged", false)).unwrap();
    messages.lock().unwrap().clear();
    slack.tell(&update("moving", "acknowledged", false)).unwrap();
    let posted: Vec<_> = messages.lock().unwrap().values().cloned().collect();
    assert_eq!(posted, [(None, "moving\n• acknowledged".to_owned())]);

    let messages = Messages::default();
    let fake = telegram_api(&messages);
    let mut chat = telegram(&fake, &directory, "110201543:AAHdqTcv");
    chat.tell(&update("dark", "paged", false)).unwrap();
    let gone =
        json!({"ok": false, "error_code": 400, "description": "Bad Request: message to edit not found"});
    fake.inject([Fault::Answer(answer(400, &gone))]);
    chat.tell(&update("moving", "acknowledged", false)).unwrap();
    assert_eq!(messages.lock().unwrap().len(), 2);
}

#[test]
fn slacks_refusals_say_what_to_do() {
    let (messages, directory) = (Messages::default(), tempfile::tempdir().unwrap());
    let fake = slack_api(&messages);
    let told = |token: &str, channel: &str| {
        slack_bot(&fake, &directory, token, channel)
            .tell(&update("dark", "x", false))
            .unwrap_err()
            .to_string()
    };
    let refused = told("xoxb-expired", "ops");
    assert_says(&refused, &["invalid_auth", "chat:write"]);
    assert!(!refused.contains("xoxb-expired"));
    assert_says(&told("xoxb-good", "nowhere"), &["channel_not_found", "names and ids"]);
    fake.inject([Fault::SilentAfterwards]);
    assert_says(&told("xoxb-good", "ops"), &["no answer in time"]);
    assert_eq!(messages.lock().unwrap().len(), 1, "a message is not posted twice");
    fake.inject([Fault::Garble("ok")]);
    assert_says(&told("xoxb-good", "ops"), &["base URL"]);
    fake.inject([Fault::Answer(answer(200, &json!({"ok": false, "error": "ratelimited"})))]);
    assert_says(&told("xoxb-good", "ops"), &["wait a minute"]);
    fake.inject([too_many(0)]);
    slack_bot(&fake, &directory, "xoxb-good", "ops").tell(&update("dark", "x", false)).unwrap();
}

#[test]
fn a_slack_webhook_is_told_once_and_its_url_stays_secret() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(|asked| match asked.target.as_str() {
        "/services/T0/B0/hunter2" => text(200, "ok"),
        _ => text(404, "no_service"),
    });
    let route = |path: &str| SlackRoute::Webhook(secret(&directory, "url", &fake.url(path)));
    let mut slack = Slack::new(client(), route("/services/T0/B0/hunter2"));
    slack.tell(&update("dark", "x", false)).unwrap();
    assert_eq!(fake.asked()[0].json(), json!({"text": "dark\n• x"}));
    let mut slack = Slack::new(client(), route("/services/T0/B0/hunter3"));
    let error = slack.tell(&update("dark", "x", false)).unwrap_err();
    assert_says(&error.to_string(), &["POST [secret]", "no_service"]);
    assert!(!format!("{error} {error:?} {slack:?}").contains("hunter3"));
    let mut slack =
        Slack::new(client(), SlackRoute::Webhook(secret(&directory, "url", "hooks.slack.com/hunter4")));
    let error = slack.tell(&update("dark", "x", false)).unwrap_err();
    assert_says(&error.to_string(), &["not an https URL", "again"]);
    assert!(!format!("{error} {error:?}").contains("hunter4"));
}

fn telegram_api(messages: &Messages) -> Fake {
    let messages = Arc::clone(messages);
    Fake::start(move |asked| {
        let refusal = |code: u16, description: &str| {
            answer(code, &json!({"ok": false, "error_code": code, "description": description}))
        };
        assert_eq!((asked.method.as_str(), asked.header("content-type")), ("POST", "application/json"));
        let Some(method) = asked.target.strip_prefix("/bot110201543:AAHdqTcv/") else {
            return refusal(401, "Unauthorized");
        };
        let (mut messages, body) = (messages.lock().unwrap(), asked.json());
        let text = body["text"].as_str().unwrap().to_owned();
        if body["chat_id"] != "-100123" {
            return refusal(400, "Bad Request: chat not found");
        }
        let id = match method {
            "sendMessage" => messages.len() as i64 + 1,
            "editMessageText" => body["message_id"].as_i64().unwrap(),
            other => panic!("{other}"),
        };
        let before = messages.insert(id.to_string(), (None, text.clone()));
        if before.is_some_and(|(_, before)| before == text) {
            return refusal(
                400,
                "Bad Request: message is not modified: specified new message content is the same",
            );
        }
        let message = json!({"message_id": id, "date": 1, "chat": {"id": -100_123}, "text": text});
        answer(200, &json!({"ok": true, "result": message}))
    })
}

fn telegram(fake: &Fake, directory: &TempDir, token: &str) -> Telegram {
    Telegram::new(client(), fake.base(), secret(directory, "token", token), "-100123".to_owned())
}

#[test]
fn a_telegram_message_is_edited_as_the_incident_moves_on() {
    let (messages, directory) = (Messages::default(), tempfile::tempdir().unwrap());
    let fake = telegram_api(&messages);
    let mut chat = telegram(&fake, &directory, "110201543:AAHdqTcv");
    chat.tell(&update("dark", "paged", false)).unwrap();
    chat.tell(&update("dark", "paged", false)).unwrap();
    assert_eq!(fake.asked().len(), 1, "what did not change is not sent");
    // An edit whose answer is lost is sent again, and "not modified" means that it was done.
    fake.inject([Fault::CloseAfterwards]);
    chat.tell(&update("recovered", "validated", true)).unwrap();
    assert_eq!(messages.lock().unwrap().get("1"), Some(&(None, "recovered\n• validated".to_owned())));
    assert_eq!(messages.lock().unwrap().len(), 1);
}

#[test]
fn telegrams_refusals_say_what_to_do_without_the_token_in_the_url() {
    let (messages, directory) = (Messages::default(), tempfile::tempdir().unwrap());
    let fake = telegram_api(&messages);
    let error = telegram(&fake, &directory, "1:expired").tell(&update("dark", "x", false)).unwrap_err();
    assert_says(&error.to_string(), &["/bot[secret]/sendMessage", "Unauthorized", "@BotFather"]);
    assert!(!format!("{error:?}").contains("1:expired"));
    let mut chat = telegram(&fake, &directory, "110201543:AAHdqTcv");
    fake.inject([Fault::Answer(answer(
        400,
        &json!({"ok": false, "error_code": 400, "description": "Bad Request: chat not found"}),
    ))]);
    assert_says(
        &chat.tell(&update("dark", "x", false)).unwrap_err().to_string(),
        &["chat not found", "[agent]"],
    );
    fake.inject([Fault::SilentAfterwards]);
    assert_says(&chat.tell(&update("dark", "x", false)).unwrap_err().to_string(), &["no answer in time"]);
    fake.inject([Fault::Garble("{\"ok\":true}")]);
    assert_says(&chat.tell(&update("dark", "x", false)).unwrap_err().to_string(), &["base URL"]);
    fake.inject([too_many(0)]);
    chat.tell(&update("dark", "x", false)).unwrap();
}

#[test]
fn a_webhook_gets_one_object_an_update() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(|asked| match asked.header("authorization") {
        "Bearer good" => text(204, ""),
        _ => text(401, "who are you"),
    });
    let mut webhook =
        Webhook { client: client(), url: fake.base(), token: Some(secret(&directory, "t", "good")) };
    webhook.tell(&update("dark", "paged", false)).unwrap();
    let expected = json!({"incident": "i1", "headline": "dark", "steps": ["paged"],
        "text": "dark\n• paged", "last": false});
    assert_eq!(fake.asked()[0].json(), expected);
    webhook.token = None;
    assert_says(
        &webhook.tell(&update("dark", "x", true)).unwrap_err().to_string(),
        &["who are you", "check the token"],
    );
    webhook.token = Some(SecretSource::File("/nonexistent".into()));
    assert_says(&webhook.tell(&update("dark", "x", true)).unwrap_err().to_string(), &["/nonexistent"]);
}

fn facts() -> Facts {
    Facts { headline: "eu is dark".to_owned(), timeline: vec!["03:00 paged".to_owned()] }
}

fn summariser(fake: &Fake, directory: &TempDir) -> Summariser {
    let mut options = options();
    options.retry = RetryPolicy::ONCE;
    options.timeout = Duration::from_millis(300);
    let key = Some(secret(directory, "key", "sk-good"));
    Summariser { client: Client::new(&options).unwrap(), base: fake.base(), model: "small".to_owned(), key }
}

#[test]
fn a_model_is_asked_with_the_facts_and_only_they_stand_in_when_it_fails() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(|asked| {
        if asked.header("authorization") != "Bearer sk-good" {
            return answer(
                401,
                &json!({"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}}),
            );
        }
        assert_eq!(asked.line(), "POST /chat/completions");
        let body = asked.json();
        assert_eq!((&body["model"], &body["messages"][0]["role"]), (&json!("small"), &json!("system")));
        assert!(body["messages"][1]["content"].as_str().unwrap().contains("03:00 paged"));
        let message = json!({"role": "assistant", "content": " Eu went dark at 03:00. "});
        answer(200, &json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))
    });
    let mut summariser = summariser(&fake, &directory);
    let summary = summariser.summarise(&facts());
    assert_eq!((summary.text.as_str(), summary.fallback), ("Eu went dark at 03:00.", None));
    let empty = Fault::Garble(r#"{"choices":[{"message":{"content":null}}]}"#);
    for (fault, why) in [
        (Fault::Silent, "no answer in time"),
        (status(500), "HTTP 500"),
        (empty, "says nothing"),
        (Fault::Garble("{}"), "cannot be understood"),
    ] {
        fake.inject([fault]);
        let start = Instant::now();
        let summary = summariser.summarise(&facts());
        assert_eq!(summary.text, template(&facts()));
        assert_says(&summary.fallback.unwrap(), &[why]);
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    summariser.key = Some(secret(&directory, "key", "sk-old"));
    let why = summariser.summarise(&facts()).fallback.unwrap();
    assert_says(&why, &["Incorrect API key", "template"]);
    assert!(!why.contains("sk-old"));
}
