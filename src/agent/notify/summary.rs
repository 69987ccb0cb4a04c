//! A few sentences about an incident, by an OpenAI-compatible endpoint or by a template.
//!
//! The model is given facts and asked for words. Nothing that it says is acted on.

use serde::Deserialize;
use serde_json::json;

use crate::agent::https::{BaseUrl, Client, Method, Repeat, Request, Service};
use crate::agent::secret::SecretSource;

static MODEL: Service = Service {
    name: "The summary endpoint",
    credential: "check its API key; the template is used meanwhile",
    status_page: None,
    throttle_marks: &[],
};
const INSTRUCTIONS: &str = "Summarise this incident for the person on call in at most five plain sentences. \
                            Use only the facts given. Do not give advice.";
/// A model that goes on is cut.
const MAX_SUMMARY_CHARS: usize = 1500;
const MAX_TOKENS: u32 = 400;
/// Facts beyond this many are left out: prompts are paid for and slow.
const MAX_FACTS: usize = 40;

/// What is known of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What is so now, in one line.
    pub headline: String,
    /// What happened, in order, one line each.
    pub timeline: Vec<String>,
}

/// Words about an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The words.
    pub text: String,
    /// Why the model did not write them, if it should have.
    pub fallback: Option<String>,
}

/// Asks a model, when there is one.
#[derive(Debug)]
pub struct Summariser {
    /// Sends the call; its time limit bounds how long a summary takes.
    pub client: Client,
    /// Up to and with `/v1`.
    pub base: BaseUrl,
    /// The model's name.
    pub model: String,
    /// An API key, when the endpoint wants one.
    pub key: Option<SecretSource>,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

impl Summariser {
    /// The model's words, or the template's with the reason.
    #[must_use]
    pub fn summarise(&self, facts: &Facts) -> Summary {
        match self.ask(facts) {
            Ok(text) => Summary { text, fallback: None },
            Err(why) => Summary { text: template(facts), fallback: Some(why) },
        }
    }

    fn ask(&self, facts: &Facts) -> Result<String, String> {
        let body = json!({
            "model": self.model,
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": INSTRUCTIONS},
                {"role": "user", "content": template(facts)},
            ],
        });
        let url = self.base.join("/chat/completions");
        let mut request = Request::new(Method::Post, url, Repeat::OnlyIfWithoutEffect).json(&body);
        if let Some(key) = &self.key {
            request = request.bearer(&key.read().map_err(|error| error.to_string())?);
        }
        let response = self.client.call(&MODEL, &request).map_err(|error| error.to_string())?;
        let completion: Completion = response.json().map_err(|error| error.to_string())?;
        let content = completion.choices.into_iter().next().and_then(|choice| choice.message.content);
        let text = printable(&content.unwrap_or_default());
        if text.is_empty() { Err(response.not_understood("it says nothing").to_string()) } else { Ok(text) }
    }
}

/// The facts as they are.
#[must_use]
pub fn template(facts: &Facts) -> String {
    let mut lines = vec![facts.headline.clone()];
    // The latest facts matter most.
    let skipped = facts.timeline.len().saturating_sub(MAX_FACTS);
    if skipped > 0 {
        lines.push(format!("({skipped} earlier entries are left out)"));
    }
    lines.extend(facts.timeline.iter().skip(skipped).cloned());
    lines.join("\n")
}

fn printable(text: &str) -> String {
    let kept = text.trim().chars().filter(|c| *c == '\n' || !c.is_control());
    kept.take(MAX_SUMMARY_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_keeps_the_latest_facts() {
        let facts =
            Facts { headline: "eu is dark".to_owned(), timeline: (0..50).map(|n| n.to_string()).collect() };
        let text = template(&facts);
        assert!(text.starts_with("eu is dark\n(10 earlier entries are left out)\n10\n"), "{text}");
        assert!(text.ends_with("\n49"));
    }

    #[test]
    fn a_models_words_are_bounded_and_printable() {
        assert_eq!(printable(" a\u{1b}[31m\nb "), "a[31m\nb");
        assert_eq!(printable(&"x".repeat(9999)).len(), MAX_SUMMARY_CHARS);
    }
}
