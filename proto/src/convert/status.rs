//! Statuses, gates' words and roles.

use super::enum_map;
use crate::{common, orchestrator};
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::role::{Role, Scope};
use meta_domain::status::{RunStatus, StepStatus};

enum_map!(
    RunStatus,
    orchestrator::RunStatus,
    [Pending, Running, PausedAwaitingApproval, Succeeded, Failed, Canceled]
);
enum_map!(
    StepStatus,
    orchestrator::StepStatus,
    [Pending, Running, Succeeded, Failed, Skipped, Canceled]
);
enum_map!(
    GateType,
    common::GateType,
    [Patch, Security, Policy, Migration, Infra, Unknown, BeforeStep]
);
enum_map!(GateStatus, common::GateStatus, [Pending, Approved, Rejected, Expired]);
enum_map!(GateEffect, common::GateEffect, [ApplyPatch, Accept, Retry, Start]);
enum_map!(Role, orchestrator::Role, [Runner, Auditor, Viewer, Member, Admin, Owner, PlatformAdmin]);
enum_map!(Scope, orchestrator::Scope, [Read, Specs, Runs, Approvals, Settings, Manage, Audit]);
