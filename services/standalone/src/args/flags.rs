//! The command line of `flags`.

use super::OutputArgs;
use clap::{Args, Subcommand};
use meta_domain::id::TenantId;
use meta_domain::settings::Setting;

/// `flags`
#[derive(Debug, Subcommand)]
pub enum FlagsCommand {
    /// Show the settings in force, and the layer each came from.
    Get(GetArgs),
    /// Override settings of the tenant, of one run, or of the whole platform.
    Set(SetArgs),
    /// Remove overrides: of the named settings, or all.
    Reset(ResetArgs),
    /// Show every layer of every setting, who set it, when and why, and what is scheduled.
    Explain(ExplainArgs),
    /// Print the settings now and after every change.
    Watch(ExplainArgs),
    /// Show who changed what.
    History(HistoryArgs),
    /// Take a scheduled change back.
    Unschedule(UnscheduleArgs),
}

/// Whose settings.
#[derive(Debug, Clone, Default, Args)]
pub struct WhoseArgs {
    /// The settings of this tenant instead of your own; for platform administrators.
    #[arg(long, value_name = "TENANT_ID", conflicts_with = "run")]
    pub tenant: Option<TenantId>,
    /// The settings of this run instead of the tenant's; a part of its id is enough where it is
    /// unique.
    #[arg(long)]
    pub run: Option<String>,
}

/// A layer of the whole platform, for its administrators.
#[derive(Debug, Clone, Default, Args)]
pub struct LayerArgs {
    /// What is set for everybody, below all rollouts and overrides.
    #[arg(long, conflicts_with_all = ["tenant", "run"])]
    pub platform: bool,
    /// What holds for everybody, whatever the other layers say.
    #[arg(long, conflicts_with_all = ["tenant", "run", "platform"])]
    pub kill_switch: bool,
}

/// `flags get`
#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub whose: WhoseArgs,
    #[command(flatten)]
    pub layer: LayerArgs,
    /// The values for a share of the tenants.
    #[arg(long, conflicts_with_all = ["tenant", "run", "platform", "kill_switch"])]
    pub rollout: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How a change is made.
#[derive(Debug, Clone, Default, Args)]
pub struct WriteArgs {
    /// Change nothing unless the override still has this version (`flags get` shows it; 0 when
    /// there never was one).
    #[arg(long, value_name = "N")]
    pub if_version: Option<u64>,
    /// Only say what would change, and for whom.
    #[arg(long)]
    pub dry_run: bool,
    /// When the change takes effect, such as 2027-01-31T08:00:00Z; within a year.
    #[arg(long, value_name = "RFC3339", conflicts_with = "if_version")]
    pub at: Option<jiff::Timestamp>,
    /// Why, for the record; must be given for the whole platform.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `flags set`
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Such as `max_total_attempts=8`.
    #[arg(required = true, value_name = "NAME=VALUE")]
    pub pairs: Vec<String>,
    #[command(flatten)]
    pub whose: WhoseArgs,
    #[command(flatten)]
    pub layer: LayerArgs,
    /// For this share of the tenants, 0 to 100 of a hundred.
    #[arg(
        long,
        value_name = "PERCENT",
        value_parser = clap::value_parser!(u8).range(0..=100),
        conflicts_with_all = ["tenant", "run", "platform", "kill_switch"]
    )]
    pub rollout: Option<u8>,
    /// Names the drawing of lots: rollouts with the same key reach the same tenants. The setting's
    /// name unless it is given.
    #[arg(long, value_name = "KEY", requires = "rollout")]
    pub bucket_key: Option<String>,
    #[command(flatten)]
    pub write: WriteArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `flags reset`
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// Only these settings; all without any.
    #[arg(value_name = "NAME")]
    pub settings: Vec<Setting>,
    #[command(flatten)]
    pub whose: WhoseArgs,
    #[command(flatten)]
    pub layer: LayerArgs,
    /// The values for a share of the tenants.
    #[arg(long, conflicts_with_all = ["tenant", "run", "platform", "kill_switch"])]
    pub rollout: bool,
    #[command(flatten)]
    pub write: WriteArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `flags explain`, `flags watch`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub whose: WhoseArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `flags history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    pub whose: WhoseArgs,
    /// The layers of the whole platform instead: platform, rollouts and kill switch.
    #[arg(long, conflicts_with_all = ["tenant", "run"])]
    pub platform: bool,
    /// Only changes of this setting.
    #[arg(long, value_name = "NAME")]
    pub setting: Option<Setting>,
    /// How many, newest first, at most 10000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `flags unschedule`
#[derive(Debug, Args)]
pub struct UnscheduleArgs {
    /// The scheduled change, as `flags explain` shows it; a part of its id is enough where it is
    /// unique.
    pub id: String,
    /// A change of this tenant instead of your own; for platform administrators.
    #[arg(long, value_name = "TENANT_ID")]
    pub tenant: Option<TenantId>,
    #[command(flatten)]
    pub output: OutputArgs,
}
