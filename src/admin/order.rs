//! From a request's body to an order, and from the agent's answer back.

use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, bounded};
use serde::Deserialize;

use super::answer::Refusal;
use super::caller::Caller;
use super::route::OrderName;
use crate::agent::orders::{Command, Order, OrderAnswer, OrderRequest};
use crate::agent::types::Region;

/// The agent answers at once or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_REGION_CHARS: usize = 64;
const MAX_WHY_CHARS: usize = 500;
const MAX_WHO_CHARS: usize = 100;

/// All that the body of an order can hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderBody {
    from: Option<String>,
    to: Option<String>,
    why: Option<String>,
    who: Option<String>,
}

/// The order that `body` makes of `name`, and the name that the caller gives itself. Pure.
///
/// # Errors
/// When the body is no JSON, lacks what the order needs, or holds what it does not take.
pub(super) fn read_order(name: OrderName, body: &[u8]) -> Result<(Order, Option<String>), Refusal> {
    let mut fields = read_fields(body)?;
    let who = fields.who.take().map(|who| line("who", who, MAX_WHO_CHARS)).transpose()?;
    let order = match name {
        OrderName::Plan => Order::Plan { from: region(&mut fields.from)?, to: region(&mut fields.to)? },
        OrderName::Start => Command::Start {
            from: region(&mut fields.from)?.ok_or_else(|| lacks("from", "the region to withdraw"))?,
            to: region(&mut fields.to)?,
            why: why(&mut fields)?,
        }
        .into(),
        OrderName::Freeze => Command::Freeze { why: why(&mut fields)? }.into(),
        OrderName::Ack => Command::Ack.into(),
        OrderName::Decline => Command::Decline.into(),
        OrderName::Abort => Command::Abort.into(),
        OrderName::Rollback => Command::Rollback.into(),
        OrderName::Thaw => Command::Thaw.into(),
        OrderName::Drill => Command::Drill.into(),
    };
    // An order that seems to say more than it does would be taken for another one.
    match [("from", fields.from), ("to", fields.to), ("why", fields.why)].into_iter().find(|f| f.1.is_some())
    {
        Some((field, _)) => Err(Refusal::BadBody(format!("`{}` takes no `{field}`", order.name()))),
        None => Ok((order, who)),
    }
}

fn read_fields(body: &[u8]) -> Result<OrderBody, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(OrderBody::default());
    }
    serde_json::from_slice(body).map_err(|error| {
        Refusal::BadBody(format!(
            "the body is not a JSON object of `from`, `to`, `why` and `who`, all of them text: {error}"
        ))
    })
}

fn region(field: &mut Option<String>) -> Result<Option<Region>, Refusal> {
    field.take().map(|name| line("region", name, MAX_REGION_CHARS).map(Region)).transpose()
}

fn why(fields: &mut OrderBody) -> Result<String, Refusal> {
    let why = fields.why.take().ok_or_else(|| lacks("why", "the reason, for who reads the journal"))?;
    line("why", why, MAX_WHY_CHARS)
}

fn lacks(field: &str, meaning: &str) -> Refusal {
    Refusal::BadBody(format!("the body lacks `{field}`: {meaning}. Send JSON with Content-Length"))
}

/// What ends up in logs, pages and terminals is one line.
fn line(what: &str, text: String, most: usize) -> Result<String, Refusal> {
    let chars = text.chars().count();
    if text.trim().is_empty() || chars > most || text.contains(char::is_control) {
        return Err(Refusal::BadBody(format!("`{what}` must be one line of 1 to {most} characters")));
    }
    Ok(text)
}

/// What is said when the agent gives no answer that can be used.
pub(super) const fn silent() -> Refusal {
    Refusal::AgentSilent(PATIENCE.as_secs())
}

/// The way to the agent, where there is one.
#[derive(Clone, Debug)]
pub(super) struct AgentLine {
    orders: Option<Sender<OrderRequest>>,
}

impl AgentLine {
    pub(super) const fn new(orders: Option<Sender<OrderRequest>>) -> Self {
        Self { orders }
    }

    pub(super) const fn is_there(&self) -> bool {
        self.orders.is_some()
    }

    /// Asks in the name of `caller`.
    ///
    /// # Errors
    /// When there is no agent, it does not answer in time, or it says no.
    pub(super) fn ask(
        &self,
        order: Order,
        caller: &Caller,
        says: Option<&str>,
    ) -> Result<OrderAnswer, Refusal> {
        self.ask_as(order, caller.who(says))
    }

    /// Asks in the name of `who`.
    pub(super) fn ask_as(&self, order: Order, who: String) -> Result<OrderAnswer, Refusal> {
        let orders = self.orders.as_ref().ok_or(Refusal::NoAgent)?;
        let until = Instant::now() + PATIENCE;
        let (reply, answer) = bounded(1);
        let request = OrderRequest { order, who, reply };
        orders.send_deadline(request, until).map_err(|_| silent())?;
        match answer.recv_deadline(until) {
            Ok(answer) => answer.map_err(Refusal::Order),
            Err(_) => Err(silent()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: OrderName, body: &str) -> Result<(Order, Option<String>), Refusal> {
        read_order(name, body.as_bytes())
    }

    fn named(name: &str) -> Region {
        Region(name.to_owned())
    }

    #[test]
    fn an_order_says_all_that_it_means_and_nothing_else() {
        let start = read(OrderName::Start, r#"{"from":"eu","to":"us","why":"disk","who":"ada"}"#).unwrap();
        let order = Command::Start { from: named("eu"), to: Some(named("us")), why: "disk".to_owned() };
        assert_eq!(start, (order.into(), Some("ada".to_owned())));
        assert_eq!(read(OrderName::Ack, "").unwrap(), (Command::Ack.into(), None));
        assert_eq!(read(OrderName::Ack, " {} \n").unwrap(), (Command::Ack.into(), None));
        let plan = Order::Plan { from: None, to: Some(named("us")) };
        assert_eq!(read(OrderName::Plan, r#"{"to":"us"}"#).unwrap().0, plan);
        for (name, order) in [
            (OrderName::Decline, Command::Decline),
            (OrderName::Abort, Command::Abort),
            (OrderName::Rollback, Command::Rollback),
            (OrderName::Thaw, Command::Thaw),
            (OrderName::Drill, Command::Drill),
        ] {
            assert_eq!(read(name, "{}").unwrap().0, order.into());
        }
    }

    #[test]
    fn a_body_that_could_mean_something_else_is_refused_with_what_is_wrong() {
        for (name, body, words) in [
            (OrderName::Start, "", "lacks `from`"),
            (OrderName::Start, r#"{"from":"eu"}"#, "lacks `why`"),
            (OrderName::Start, r#"{"from":"eu","why":" "}"#, "`why` must be one line"),
            (OrderName::Start, r#"{"from":"","why":"x"}"#, "`region` must be one line"),
            (OrderName::Start, r#"{"from":"eu","why":"x","when":"now"}"#, "unknown field `when`"),
            (OrderName::Start, r#"{"from":["eu"],"why":"x"}"#, "not a JSON object"),
            (OrderName::Freeze, "{}", "lacks `why`"),
            (OrderName::Freeze, r#"{"why":"a\nb"}"#, "`why` must be one line"),
            (OrderName::Ack, r#"{"from":"eu"}"#, "`ack` takes no `from`"),
            (OrderName::Plan, r#"{"why":"x"}"#, "`plan` takes no `why`"),
            (OrderName::Ack, "{", "not a JSON object"),
            (OrderName::Ack, "null null", "not a JSON object"),
            (OrderName::Ack, r#"{"who":"\u001b[2J"}"#, "`who` must be one line"),
        ] {
            let refused = read(name, body).unwrap_err().to_string();
            assert!(refused.contains(words), "{body}: {refused}");
        }
        let long = format!(r#"{{"why":"{}"}}"#, "x".repeat(MAX_WHY_CHARS + 1));
        assert!(read(OrderName::Freeze, &long).is_err());
    }

    #[test]
    fn an_agent_that_is_not_there_or_does_not_answer_is_said_to_be_so() {
        let ask = |line: &AgentLine| line.ask(Command::Ack.into(), &Caller::Local(None), None);
        assert_eq!(ask(&AgentLine::new(None)), Err(Refusal::NoAgent));
        let (sender, receiver) = bounded(1);
        let line = AgentLine::new(Some(sender));
        assert_eq!(ask(&line), Err(Refusal::AgentSilent(2)));
        let began = Instant::now();
        assert_eq!(ask(&line), Err(Refusal::AgentSilent(2)), "a full channel is waited for no longer");
        assert!(began.elapsed() < PATIENCE * 2);
        drop(receiver);
        assert_eq!(ask(&line), Err(Refusal::AgentSilent(2)));
    }
}
