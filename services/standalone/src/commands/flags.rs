//! `metabuilder flags`: the settings of the auto-fix loop, here or on a server.

mod asked;
mod document;
mod local;
mod remote;
mod show;
mod wire;

use crate::args::{
    ExplainArgs, FlagsCommand, GetArgs, HistoryArgs, Output, OutputArgs, UnscheduleArgs, WhoseArgs,
};
use crate::display::{print, print_json};
use crate::error::{Error, Exit, Result};
use crate::rest::Rest;
use crate::select::pick;
use crate::session::{Local, Session};
use asked::Write;
use document::{Audited, Done, Explained, Platform, Values};
use local::Here;
use meta_domain::settings::{Layer, Setting};
use remote::There;
use serde::Serialize;
use serde_json::json;

/// Where settings are read and written: here or on a server.
trait Source {
    /// The owner's settings and how they came to be.
    async fn explained(&self) -> Result<Explained>;

    /// The layers of the whole platform.
    async fn platform(&self) -> Result<Platform>;

    /// Carries out a change.
    async fn write(&self, write: &Write) -> Result<Done>;

    /// The latest changes of the owner, or of the whole platform.
    async fn history(
        &self,
        platform: bool,
        setting: Option<Setting>,
        limit: u32,
    ) -> Result<Vec<Audited>>;

    /// Takes a scheduled change of the owner, or of the whole platform, back.
    async fn unschedule(&self, id: &str, platform: bool) -> Result<u64>;

    /// Tells the settings in force, now and after every change, until the session ends.
    async fn watch(&self, session: &Session, each: impl FnMut(&Values) -> Result<()>)
    -> Result<()>;
}

/// Carries out a command about settings. What is wrong with a change is said before anything is
/// opened or sent.
pub async fn run(command: FlagsCommand, session: &Session) -> Result<Exit> {
    let (whose, command) = checked(command)?;
    let WhoseArgs { tenant, run } = whose;
    if let Some(server) = session.server()? {
        let there = There::new(Rest::new(&server)?, tenant, run.as_deref()).await?;
        return command.carry_out(&there, session).await;
    }
    let local = Local::open(session).await?;
    let here = Here::new(&local.reader().await?, tenant, run.as_deref()).await?;
    command.carry_out(&here, session).await.map_err(in_words_of_the_command_line)
}

/// A service's complaint about an option, by the option's name here.
fn in_words_of_the_command_line(mut error: Error) -> Error {
    for why in &mut error.why {
        for (field, option) in
            [("options.effective_at:", "--at:"), ("options.reason:", "--reason:")]
        {
            if let Some(rest) = why.strip_prefix(field) {
                *why = format!("{option}{rest}");
            }
        }
    }
    error
}

/// A command whose change was checked.
enum Checked {
    Get(GetArgs),
    Write(Write, OutputArgs),
    Explain(ExplainArgs),
    Watch(ExplainArgs),
    History(HistoryArgs),
    Unschedule(UnscheduleArgs),
}

fn checked(command: FlagsCommand) -> Result<(WhoseArgs, Checked)> {
    Ok(match command {
        FlagsCommand::Get(args) => (args.whose.clone(), Checked::Get(args)),
        FlagsCommand::Set(args) => {
            (args.whose.clone(), Checked::Write(Write::set(&args)?, args.output))
        }
        FlagsCommand::Reset(args) => {
            (args.whose.clone(), Checked::Write(Write::reset(&args)?, args.output))
        }
        FlagsCommand::Explain(args) => (args.whose.clone(), Checked::Explain(args)),
        FlagsCommand::Watch(args) => (args.whose.clone(), Checked::Watch(args)),
        FlagsCommand::History(args) => (args.whose.clone(), Checked::History(args)),
        FlagsCommand::Unschedule(args) => {
            (WhoseArgs { tenant: args.tenant, run: None }, Checked::Unschedule(args))
        }
    })
}

impl Checked {
    async fn carry_out(self, source: &impl Source, session: &Session) -> Result<Exit> {
        match self {
            Self::Get(args) => get(source, &args).await?,
            Self::Write(write, output) => {
                let done = source.write(&write).await?;
                tell(&done, write.platform, output)?;
            }
            Self::Explain(args) => {
                let found = source.explained().await?;
                out(args.output, &found, || show::explained(&found))?;
            }
            Self::Watch(args) => {
                watch(source, &args, session).await?;
                return Ok(Exit::Interrupted);
            }
            Self::History(args) => {
                let found = source.history(args.platform, args.setting, args.limit).await?;
                out(args.output, &found, || show::history(&found))?;
            }
            Self::Unschedule(args) => unschedule(source, &args).await?,
        }
        Ok(Exit::Done)
    }
}

fn out(to: OutputArgs, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
    match to.output {
        Output::Json => print_json(value)?,
        Output::Text => print(&text())?,
    }
    Ok(())
}

async fn get(source: &impl Source, args: &GetArgs) -> Result<()> {
    if let Some(layer) = asked::shown(args) {
        let found = source.platform().await?;
        let document = show::platform_json(&found, layer);
        return out(args.output, &document, || show::platform(&found, layer));
    }
    let values = Values::from(&source.explained().await?);
    out(args.output, &values, || show::values(&values))
}

fn tell(done: &Done, layer: Option<Layer>, to: OutputArgs) -> Result<()> {
    match done {
        Done::Owner(found) => {
            let values = Values::from(found);
            out(to, &values, || show::values(&values))
        }
        Done::Platform(found) => {
            let layer = layer.unwrap_or(Layer::Platform);
            let document = show::platform_json(found, layer);
            out(to, &document, || show::platform(found, layer))
        }
        Done::Imagined(would) => out(to, would, || show::dry_run(would)),
        Done::Scheduled(later) => out(to, later, || show::later(later)),
    }
}

async fn watch(source: &impl Source, args: &ExplainArgs, session: &Session) -> Result<()> {
    let mut before: Option<Values> = None;
    let each = |now: &Values| {
        let at = meta_runtime::now().to_string();
        out(args.output, now, || show::change(&at, before.as_ref(), now))?;
        before = Some(now.clone());
        Ok(())
    };
    source.watch(session, each).await
}

async fn unschedule(source: &impl Source, args: &UnscheduleArgs) -> Result<()> {
    let scheduled = source.explained().await?.scheduled;
    let ids = scheduled.iter().map(|s| s.id.as_str());
    let id = match pick("scheduled change", "metabuilder flags explain", &args.id, ids) {
        Ok(id) => id.to_owned(),
        // the owner's list may have been cut by what has taken effect: the server knows best
        Err(_) if args.id.len() == 36 => args.id.clone(),
        Err(error) => return Err(error),
    };
    let layer = scheduled.iter().find(|s| s.id == id).map(|s| s.layer);
    let platform = matches!(layer, Some(Layer::Platform | Layer::Rollout | Layer::KillSwitch));
    let version = source.unschedule(&id, platform).await?;
    let document = json!({ "status": "canceled", "id": id, "version": version });
    out(args.output, &document, || format!("taken back\n{id}"))
}
