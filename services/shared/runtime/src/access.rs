//! The role matrix: who may call which RPC. An RPC without a row is refused to everybody, and a
//! test walks the descriptors so that none is forgotten.

use meta_domain::role::Role;

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: health and reflection.
    Public,
    /// At least this role in the caller's tenant.
    Role(Role),
    /// A service of this installation, not a tenant's credential.
    Machine,
}

/// Every RPC and what it needs.
pub const MATRIX: &[(&str, Access)] = &[
    ("metabuilder.classifier.v1.ClassifierService/Classify", Access::Role(Role::Member)),
    ("metabuilder.classifier.v1.ClassifierService/ClassifyStream", Access::Role(Role::Member)),
    ("metabuilder.classifier.v1.ClassifierService/ListRules", Access::Role(Role::Viewer)),
    ("metabuilder.flags.v1.FlagsService/Resolve", Access::Role(Role::Viewer)),
    ("metabuilder.flags.v1.FlagsService/SetOverrides", Access::Role(Role::Admin)),
    ("metabuilder.flags.v1.FlagsService/ClearOverrides", Access::Role(Role::Admin)),
    ("metabuilder.flags.v1.FlagsService/ValidateOverrides", Access::Role(Role::Viewer)),
    ("metabuilder.flags.v1.FlagsService/Explain", Access::Role(Role::Viewer)),
    ("metabuilder.flags.v1.FlagsService/ListChanges", Access::Role(Role::Viewer)),
    ("metabuilder.flags.v1.FlagsService/Watch", Access::Role(Role::Viewer)),
    ("metabuilder.flags.v1.FlagsService/CancelScheduled", Access::Role(Role::Admin)),
    ("metabuilder.flags.v1.FlagsService/GetPlatform", Access::Role(Role::PlatformAdmin)),
    ("metabuilder.flags.v1.FlagsService/SetPlatform", Access::Role(Role::PlatformAdmin)),
    ("metabuilder.flags.v1.FlagsService/ClearPlatform", Access::Role(Role::PlatformAdmin)),
    ("metabuilder.flags.v1.FlagsService/ListPlatformChanges", Access::Role(Role::PlatformAdmin)),
    (
        "metabuilder.flags.v1.FlagsService/CancelPlatformScheduled",
        Access::Role(Role::PlatformAdmin),
    ),
    ("metabuilder.flags.v1.FlagsService/WatchSnapshot", Access::Machine),
    ("flagd.evaluation.v1.Service/ResolveAll", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v1.Service/ResolveBoolean", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v1.Service/ResolveString", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v1.Service/ResolveFloat", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v1.Service/ResolveInt", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v1.Service/ResolveObject", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v1.Service/EventStream", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v2.Service/ResolveBoolean", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v2.Service/ResolveString", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v2.Service/ResolveFloat", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v2.Service/ResolveInt", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v2.Service/ResolveObject", Access::Role(Role::Viewer)),
    ("flagd.evaluation.v2.Service/EventStream", Access::Role(Role::Viewer)),
    ("flagd.sync.v1.FlagSyncService/SyncFlags", Access::Role(Role::Viewer)),
    ("flagd.sync.v1.FlagSyncService/FetchAllFlags", Access::Role(Role::Viewer)),
    ("flagd.sync.v1.FlagSyncService/GetMetadata", Access::Role(Role::Viewer)),
    ("metabuilder.autofixer.v1.AutofixerService/Decide", Access::Role(Role::Member)),
    ("metabuilder.autofixer.v1.AutofixerService/ProposeFix", Access::Role(Role::Member)),
    ("metabuilder.autofixer.v1.AutofixerService/ReviewPatch", Access::Role(Role::Member)),
    ("metabuilder.autofixer.v1.AutofixerService/ListFixers", Access::Role(Role::Viewer)),
    ("metabuilder.autofixer.v1.AutofixerService/DraftEdit", Access::Role(Role::Admin)),
    ("metabuilder.autofixer.v1.AutofixerService/DraftReplan", Access::Role(Role::Admin)),
    ("metabuilder.autofixer.v1.AutofixerService/RecordOutcome", Access::Role(Role::Admin)),
    ("metabuilder.autofixer.v1.AutofixerService/Explain", Access::Role(Role::Viewer)),
    ("metabuilder.runner.v1.WorkService/PollTask", Access::Machine),
    ("metabuilder.runner.v1.WorkService/Heartbeat", Access::Machine),
    ("metabuilder.runner.v1.WorkService/AppendLog", Access::Machine),
    ("metabuilder.runner.v1.WorkService/CompleteTask", Access::Machine),
    ("metabuilder.runner.v1.RunnerService/GetStatus", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.SpecService/CreateSpec", Access::Role(Role::Member)),
    ("metabuilder.orchestrator.v1.SpecService/GetSpec", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.SpecService/ListSpecs", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.PlanService/CreatePlan", Access::Role(Role::Member)),
    ("metabuilder.orchestrator.v1.PlanService/GetPlan", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.RunService/CreateRun", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.RunService/GetRun", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.RunService/ListRuns", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.RunService/CancelRun", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.RunService/RetryRun", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.RunService/RollbackRun", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.RunService/StreamEvents", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.RunService/StreamLogs", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.RunService/GetPatch", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.RunService/GetWorkspace", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.RunService/ListFlaky", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.RunControlService/PauseRun", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.RunControlService/ResumeRun", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.RunControlService/MarkStep", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.RunControlService/EditPlan", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.RunControlService/VerifyRun", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.ApprovalService/ListGates", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.ApprovalService/DecideGate", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.TenantService/CreateTenant", Access::Role(Role::PlatformAdmin)),
    ("metabuilder.orchestrator.v1.TenantService/ListTenants", Access::Role(Role::PlatformAdmin)),
    ("metabuilder.orchestrator.v1.TenantService/CreateUser", Access::Role(Role::Owner)),
    ("metabuilder.orchestrator.v1.TenantService/Authenticate", Access::Machine),
    ("metabuilder.orchestrator.v1.TenantService/GetCaller", Access::Role(Role::Viewer)),
    ("metabuilder.orchestrator.v1.SessionService/CreateSession", Access::Machine),
    ("metabuilder.orchestrator.v1.SessionService/GetSession", Access::Machine),
    ("metabuilder.orchestrator.v1.SessionService/EndSession", Access::Machine),
    ("metabuilder.orchestrator.v1.WebhookService/CreateWebhook", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.WebhookService/ListWebhooks", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.WebhookService/DeleteWebhook", Access::Role(Role::Admin)),
    ("metabuilder.orchestrator.v1.AnswerService/BeginAnswer", Access::Machine),
    ("metabuilder.orchestrator.v1.AnswerService/FinishAnswer", Access::Machine),
    ("metabuilder.orchestrator.v1.AnswerService/ReleaseAnswer", Access::Machine),
];

const PUBLIC: [&str; 3] = [
    "grpc.health.v1.Health/",
    "grpc.reflection.v1.ServerReflection/",
    "grpc.reflection.v1alpha.ServerReflection/",
];

/// What a call of this path (`/package.Service/Method`) needs; `None` when nobody may.
pub fn required(path: &str) -> Option<Access> {
    let method = path.strip_prefix('/').unwrap_or(path);
    if PUBLIC.iter().any(|p| method.starts_with(p)) {
        return Some(Access::Public);
    }
    MATRIX.iter().find(|(name, _)| *name == method).map(|(_, access)| *access)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn every_rpc_has_exactly_one_row_and_every_row_an_rpc() {
        let set =
            prost_types::FileDescriptorSet::decode(meta_proto::DESCRIPTORS).expect("descriptors");
        let mut methods: Vec<String> = Vec::new();
        for file in &set.file {
            let ours = ["metabuilder.", "flagd."].iter().any(|p| file.package().starts_with(p));
            for service in file.service.iter().filter(|_| ours) {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    methods.push(format!("{package}.{service}/{}", method.name()));
                }
            }
        }
        methods.sort();
        let mut rows: Vec<String> = MATRIX.iter().map(|(name, _)| (*name).to_owned()).collect();
        rows.sort();
        assert_eq!(methods, rows);
    }

    #[test]
    fn an_unknown_rpc_is_refused() {
        assert_eq!(required("/metabuilder.flags.v1.FlagsService/Nope"), None);
        assert_eq!(required("/grpc.health.v1.Health/Check"), Some(Access::Public));
    }
}
