//! `failover`: what a person on call sees of the agent, and tells it.

mod screen;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::running::ServerArguments;
use crate::admin::client::{self, OrderFields};
use crate::config::Sources;

#[derive(Debug, Args)]
pub(super) struct FailoverArguments {
    #[command(subcommand)]
    command: FailoverCommand,
}

#[derive(Debug, Subcommand)]
enum FailoverCommand {
    /// Where it stands, what happens next, and what you can type now
    Status(ServerArguments),
    /// Print the calls that a failover would make now, and make none
    Plan(PlanArguments),
    /// Withdraw a region though no signal says so; safety checks are not skipped
    Start(StartArguments),
    /// Go on with the incident that waits for a person
    Ack(OrderArguments),
    /// Do not move traffic in this incident
    Decline(OrderArguments),
    /// Stop the run, after the call that is on its way
    Abort(OrderArguments),
    /// Put the public record back as it was before the run
    Rollback(OrderArguments),
    /// Change nothing in the world until thawed; paging goes on
    Freeze(FreezeArguments),
    /// End a freeze
    Thaw(OrderArguments),
    /// Run the whole runbook against the shadow record, never the live one
    Drill(OrderArguments),
}

#[derive(Debug, Args)]
struct OrderArguments {
    /// Your name, for the journal, beside what the system knows of you
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct PlanArguments {
    /// The region to withdraw; else the one that is sick
    #[arg(long, value_name = "REGION")]
    from: Option<String>,
    /// The region to serve instead; else as the runbook chooses
    #[arg(long, value_name = "REGION")]
    to: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
struct StartArguments {
    /// The region to withdraw
    #[arg(long, value_name = "REGION")]
    from: String,
    /// The region to serve instead; else as the runbook chooses
    #[arg(long, value_name = "REGION")]
    to: Option<String>,
    /// The reason, for the journal and the page
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    order: OrderArguments,
}

#[derive(Debug, Args)]
struct FreezeArguments {
    /// The reason, for who finds it frozen
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    order: OrderArguments,
}

pub(super) fn run(arguments: &FailoverArguments, sources: &Sources) -> ExitCode {
    use FailoverCommand as Command;
    match &arguments.command {
        Command::Status(server) => server.ask(sources, client::failover, screen::answer),
        Command::Plan(plan) => {
            let fields =
                OrderFields { from: plan.from.clone(), to: plan.to.clone(), ..OrderFields::default() };
            give(&plan.server, sources, "plan", &fields)
        }
        Command::Start(start) => {
            let (from, to, why) = (Some(start.from.clone()), start.to.clone(), Some(start.why.clone()));
            let fields = OrderFields { from, to, why, who: start.order.who.clone() };
            give(&start.order.server, sources, "start", &fields)
        }
        Command::Freeze(freeze) => {
            let (why, who) = (Some(freeze.why.clone()), freeze.order.who.clone());
            give(&freeze.order.server, sources, "freeze", &OrderFields { why, who, ..OrderFields::default() })
        }
        Command::Ack(order) => plain(order, sources, "ack"),
        Command::Decline(order) => plain(order, sources, "decline"),
        Command::Abort(order) => plain(order, sources, "abort"),
        Command::Rollback(order) => plain(order, sources, "rollback"),
        Command::Thaw(order) => plain(order, sources, "thaw"),
        Command::Drill(order) => plain(order, sources, "drill"),
    }
}

/// An order that has nothing to say but its name.
fn plain(order: &OrderArguments, sources: &Sources, name: &str) -> ExitCode {
    give(&order.server, sources, name, &OrderFields { who: order.who.clone(), ..OrderFields::default() })
}

fn give(server: &ServerArguments, sources: &Sources, name: &str, fields: &OrderFields) -> ExitCode {
    server.ask(sources, |socket| client::order(socket, name, fields), screen::answer)
}
