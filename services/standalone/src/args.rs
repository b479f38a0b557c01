//! The command line: every command with its flags.

mod access;
mod flags;

pub use access::*;
pub use flags::*;

use clap::{Args, Parser, Subcommand, ValueEnum};
use meta_domain::id::TenantId;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A self-healing build service: runs a project's build in a private copy, and heals what fails.
#[derive(Debug, Parser)]
#[command(
    name = "metabuilder",
    version,
    after_help = "Exit codes: 0 built (healed or not), 1 failed, 2 wrong usage or bad input, \
                  3 waiting for approval, 130 interrupted.\n\
                  METABUILDER_URL and METABUILDER_TOKEN name a server; without them runs, approvals \
                  and flags are this machine's own (METABUILDER_DATA)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve everything from one process: web pages and REST on one port, gRPC on another.
    Up(UpArgs),
    /// Build a project and heal what fails, in a private copy.
    Build(BuildArgs),
    /// Show the plan of a project: the steps, why each is there, and the risk.
    Plan(PlanArgs),
    /// Look at runs and steer them.
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Approve what a run waits for, and go on from there.
    Approve(DecideArgs),
    /// Reject what a run waits for; the run fails.
    Reject(DecideArgs),
    /// Explain a step: the evidence, the rule, the strategy, and what each fixer did.
    Why(WhyArgs),
    /// List the steps that failed and passed on the same commit without a change.
    Flaky(OutputArgs),
    /// Say what kind of failure a log shows.
    Classify(ClassifyArgs),
    /// The rules of the classifier.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// The fixers.
    #[command(subcommand)]
    Fixers(FixersCommand),
    /// The settings of the auto-fix loop.
    #[command(subcommand)]
    Flags(FlagsCommand),
    /// Tenants of a server.
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// Users of a tenant of a server.
    #[command(subcommand)]
    Users(UsersCommand),
    /// API keys of a tenant of a server.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Who did what in a tenant of a server, and whether that record is whole.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Say what is missing on this machine, and what each thing is needed for.
    Doctor(OutputArgs),
    /// Tell a run to other tools: Markdown for a comment, JUnit or SARIF for a report.
    Report(ReportArgs),
    /// Derive what runners on machines that are trusted less get in place of the services' secret,
    /// which is read from standard input.
    RunnerSecret,
    /// Ask a server of this machine whether it serves; exit code 0 or 1.
    Health {
        /// Address of its web pages or of its gRPC services.
        #[arg(default_value = "127.0.0.1:5001", env = "METABUILDER_LISTEN")]
        address: SocketAddr,
    },
    /// Print the completions of a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// JSON; for what goes on over time one object a line.
    Json,
}

/// The choice of the output.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct OutputArgs {
    /// How results are printed.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// `up`
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Address of the web pages and the REST API.
    #[arg(long, default_value = "127.0.0.1:5001", env = "METABUILDER_LISTEN")]
    pub listen: SocketAddr,
    /// Address of the gRPC services.
    #[arg(long, default_value = "127.0.0.1:50051", env = "METABUILDER_GRPC")]
    pub grpc: SocketAddr,
    /// Address of `/metrics`, `/livez` and `/readyz`, without credentials; not served without it.
    #[arg(long, value_name = "ADDR", env = "METABUILDER_ADMIN")]
    pub admin: Option<SocketAddr>,
    /// Folder of everything that is kept.
    #[arg(long, default_value = "./.metabuilder", value_name = "DIR")]
    pub data: PathBuf,
    /// A folder of this machine whose projects may be built by everyone who may start builds; can
    /// be given more than once. Without it only git and inline sources are built.
    #[arg(long, value_name = "DIR")]
    pub allow_path: Vec<PathBuf>,
    /// Loopback address on which flagd's clients of OpenFeature read settings, without a credential.
    #[arg(long, value_name = "ADDR", env = "METABUILDER_FLAGD", value_parser = loopback)]
    pub flagd: Option<SocketAddr>,
    /// The tenant whose settings they read, or `any`; the local tenant without it.
    #[arg(long, value_name = "any|TENANT_ID", requires = "flagd")]
    pub flagd_tenant: Option<FlagdTenant>,
    /// Where browsers find it, such as `https://builder.example`, when something that speaks TLS
    /// stands in front of it.
    #[arg(long, value_name = "URL", env = "METABUILDER_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// A TOML file of the gateway's settings: `jwt`, `oidc`, `cors_origins`, `public_url` and the
    /// others.
    #[arg(long, value_name = "FILE", env = "METABUILDER_CONFIG")]
    pub config: Option<PathBuf>,
    /// How much is logged, such as `info` or `info,orchestrator=debug`.
    #[arg(long, default_value = "info")]
    pub log: String,
}

/// Whose settings are read on the address for flagd's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagdTenant {
    /// Every tenant's: the client's context names one.
    Any,
    /// This tenant's.
    Only(TenantId),
}

impl FromStr for FlagdTenant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == flag_resolver::ANY_TENANT {
            return Ok(Self::Any);
        }
        let id: Result<TenantId, _> = text.parse();
        id.map(Self::Only).map_err(|e| format!("{e}, or {}", flag_resolver::ANY_TENANT))
    }
}

/// An address that only this machine reaches.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected one such as 127.0.0.1:8013";
    let address: SocketAddr =
        text.parse().map_err(|_| format!("it is not an address and a port ({expected})"))?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "it is not a loopback address ({expected}: whoever reaches it reads without a credential)"
    ))
}

/// `build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Folder of the project.
    #[arg(default_value = ".")]
    pub path: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub patch: PatchArgs,
    /// Go on with this project's last run: from where it was interrupted, or from the step that
    /// failed.
    #[arg(long)]
    pub resume: bool,
    /// Also print the output of the steps.
    #[arg(long, short)]
    pub verbose: bool,
}

/// What becomes of the combined diff.
#[derive(Debug, Clone, Default, Args)]
pub struct PatchArgs {
    /// Write the combined diff to a file.
    #[arg(long, value_name = "FILE")]
    pub patch: Option<PathBuf>,
    /// Apply the combined diff to the project's files when the build succeeds.
    #[arg(long)]
    pub apply: bool,
    /// Commit the combined diff to a new branch of the project's repository when the build
    /// succeeds; the files are not touched.
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
}

/// `plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Folder of the project.
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// Make the steps from the `run:` steps of a GitHub Actions workflow and print them as a
    /// metabuilder.toml; nothing is planned or written.
    #[arg(long, value_name = "WORKFLOW.yml", conflicts_with_all = ["path", "output"])]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `runs`
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List the runs, latest first.
    Ls {
        #[command(flatten)]
        output: OutputArgs,
        /// How many, at most 100.
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// Only runs with this status.
        #[arg(long)]
        status: Option<meta_domain::status::RunStatus>,
    },
    /// Show one run: its steps, attempts and gates.
    Show(RunArgs),
    /// Print the logs of a run's steps.
    Logs {
        /// The run; a part of its id is enough where it is unique.
        run: String,
        /// Only this step.
        #[arg(long)]
        step: Option<String>,
        /// Go on until the run ends.
        #[arg(long, short)]
        follow: bool,
    },
    /// Follow a run until it ends or waits.
    Watch(RunArgs),
    /// Cancel a run; the process trees of its steps are killed.
    Cancel(RunArgs),
    /// Go on with a failed or canceled run from its failed step.
    Retry(RunArgs),
    /// Take the last commit of the loop back.
    Rollback(RunArgs),
    /// Let nothing new of a run start; what is under way goes on.
    Pause {
        #[command(flatten)]
        run: RunArgs,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Go on with a paused run.
    Resume(RunArgs),
    /// Say of a step that it counts as passed or is not needed; in a failed run, for its next retry.
    Mark {
        #[command(flatten)]
        run: RunArgs,
        /// The step.
        step: String,
        /// What it counts as.
        status: StepMark,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
    /// Build a run again from its event log and compare that with what is stored.
    Verify {
        /// The run; a part of its id is enough where it is unique. Without one: the latest 100.
        run: Option<String>,
    },
    /// Print the combined diff of a run, or do something with it.
    Patch {
        /// The run; a part of its id is enough where it is unique.
        run: String,
        #[command(flatten)]
        patch: PatchArgs,
    },
}

/// What a step counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StepMark {
    /// Passed.
    Succeeded,
    /// Not needed.
    Skipped,
}

/// Names a run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The run; a part of its id is enough where it is unique.
    pub run: String,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `approve`, `reject`
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The gate, or the run that waits at one; a part of the id is enough where it is unique.
    #[arg(value_name = "GATE|RUN")]
    pub target: String,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    pub notes: String,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub patch: PatchArgs,
    /// Also print the output of the steps.
    #[arg(long, short)]
    pub verbose: bool,
}

/// How `report` tells a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For a commit status or a comment on a change.
    Markdown,
    /// A suite of one test case a step.
    Junit,
    /// SARIF 2.1.0: a result a failure, at the places that it names.
    Sarif,
}

/// `report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run; a part of its id is enough where it is unique. Without one: the latest.
    pub run: Option<String>,
    /// How it is told.
    #[arg(long, short, value_enum, default_value = "markdown")]
    pub format: ReportFormat,
}

/// `why`
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The run; a part of its id is enough where it is unique.
    pub run: String,
    /// The step.
    pub step: String,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How `classify` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ClassifyOutput {
    /// For people.
    #[default]
    Text,
    /// One JSON array, or one object for a single log.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// `classify`
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Logs; without any, standard input.
    pub files: Vec<PathBuf>,
    /// How the step's process ended, when known; 0 means no failure, whatever the words.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub exit_code: Option<i32>,
    /// The command that ran, when known.
    #[arg(long, value_name = "CMD", default_value = "")]
    pub command: String,
    /// The name of the step, when known.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub step: String,
    /// A folder of your own rules; they outrank the product's.
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: ClassifyOutput,
}

/// `rules`
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// List the rules.
    Ls(RulesArgs),
    /// Run every rule's examples.
    Test(RulesArgs),
}

/// Which rules.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// A folder of your own rules, beside the product's.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `fixers`
#[derive(Debug, Subcommand)]
pub enum FixersCommand {
    /// List the fixers.
    Ls(RulesArgs),
    /// Check every fixer's description and examples.
    Test(RulesArgs),
}

/// `tenants`
#[derive(Debug, Subcommand)]
pub enum TenantsCommand {
    /// Create a tenant.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// `users`
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Create a user; prints the API key, once.
    Add {
        /// The tenant's id.
        #[arg(long)]
        tenant: String,
        /// E-mail address.
        email: String,
        /// `viewer`, `member`, `admin` or `owner`.
        #[arg(long, default_value = "member")]
        role: meta_domain::role::Role,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn build_defaults_to_this_folder_and_text() {
        let Ok(Command::Build(args)) = parse("metabuilder build") else { panic!("no build") };
        assert_eq!(args.path, PathBuf::from("."));
        assert_eq!(args.output.output, Output::Text);
        assert!(args.patch.patch.is_none() && !args.patch.apply && args.patch.branch.is_none());
    }

    #[test]
    fn build_takes_what_the_product_page_promises() {
        let line =
            "metabuilder build . --output json --patch out.patch --apply --branch heal --resume";
        let Ok(Command::Build(args)) = parse(line) else { panic!("no build") };
        assert_eq!(args.output.output, Output::Json);
        assert_eq!(args.patch.patch, Some(PathBuf::from("out.patch")));
        assert!(args.patch.apply && args.resume);
        assert_eq!(args.patch.branch.as_deref(), Some("heal"));
    }

    #[test]
    fn classify_takes_many_files_and_negative_exit_codes() {
        let line = "metabuilder classify --output jsonl --exit-code -9 a.log b.log";
        let Ok(Command::Classify(args)) = parse(line) else { panic!("no classify") };
        assert_eq!((args.files.len(), args.exit_code), (2, Some(-9)));
    }

    #[test]
    fn wrong_usage_ends_with_two() {
        for line in [
            "metabuilder",
            "metabuilder biuld",
            "metabuilder build --output yaml",
            "metabuilder runs ls --limit 0",
            "metabuilder runs ls --status done",
            "metabuilder flags set",
            "metabuilder flags set autofix_enabled=false --rollout 101",
            "metabuilder flags set autofix_enabled=false --rollout 2.5",
            "metabuilder flags set autofix_enabled=false --bucket-key a",
            "metabuilder flags set autofix_enabled=false --platform --kill-switch",
            "metabuilder flags set autofix_enabled=false --tenant 7",
            "metabuilder flags set autofix_enabled=false --at tomorrow",
            "metabuilder flags set autofix_enabled=false --if-version -1",
            "metabuilder flags reset colour",
            "metabuilder flags history --limit 0",
            "metabuilder flags unschedule",
            "metabuilder up --flagd 0.0.0.0:8013",
            "metabuilder up --flagd localhost",
            "metabuilder up --flagd-tenant any",
            "metabuilder up --flagd 127.0.0.1:8013 --flagd-tenant everyone",
            "metabuilder approve",
            "metabuilder keys create",
            "metabuilder keys create ci --role king",
            "metabuilder keys create ci --scope all",
            "metabuilder keys revoke 7",
            "metabuilder audit ls --limit 0",
            "metabuilder audit verify --known 7",
            "metabuilder audit verify --known 0:00",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn every_command_of_the_product_page_is_there() {
        for line in [
            "metabuilder up --listen 127.0.0.1:0 --grpc 127.0.0.1:0 --data x --allow-path a --allow-path b",
            "metabuilder plan x --output json",
            "metabuilder runs show 0197",
            "metabuilder runs logs 0197 --step test -f",
            "metabuilder runs watch 0197",
            "metabuilder runs cancel 0197",
            "metabuilder runs retry 0197",
            "metabuilder runs rollback 0197",
            "metabuilder runs pause 0197 --reason maintenance",
            "metabuilder runs resume 0197",
            "metabuilder runs mark 0197 deploy skipped --reason later",
            "metabuilder runs verify",
            "metabuilder runs verify 0197",
            "metabuilder runs patch 0197 --apply",
            "metabuilder approve 0197 --notes fine",
            "metabuilder reject 0197",
            "metabuilder why 0197 test",
            "metabuilder rules test --dir mine",
            "metabuilder fixers ls",
            "metabuilder up --flagd 127.0.0.1:8013 --flagd-tenant any",
            "metabuilder up --flagd [::1]:8013 --flagd-tenant 00000000-0000-7000-8000-000000000001",
            "metabuilder flags get --kill-switch",
            "metabuilder flags set max_total_attempts=3 --run 0197 --if-version 0 --dry-run",
            "metabuilder flags set max_total_attempts=3 --at 2027-01-31T08:00:00+01:00",
            "metabuilder flags set max_total_attempts=3 --rollout 25 --bucket-key a --reason r",
            "metabuilder flags reset max_total_attempts autofix_enabled --platform --reason r",
            "metabuilder flags explain --tenant 00000000-0000-7000-8000-000000000001",
            "metabuilder flags watch --run 0197",
            "metabuilder flags history --setting autofix_enabled --limit 500",
            "metabuilder flags unschedule 0197a2c4",
            "metabuilder tenants create acme",
            "metabuilder users add --tenant t a@example.com --role admin",
            "metabuilder keys ls --output json",
            "metabuilder keys create ci --role member --scope read --scope specs",
            "metabuilder keys create ci --expires 2030-01-31T12:00:00Z",
            "metabuilder keys revoke 01890000-0000-7000-8000-000000000001",
            "metabuilder audit ls --action key. --limit 500",
            "metabuilder audit verify",
            "metabuilder up --public-url https://builder.example --config gateway.toml",
            "metabuilder doctor",
            "metabuilder completions bash",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }
}
