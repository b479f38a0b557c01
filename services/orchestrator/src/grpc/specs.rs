//! Specs and plans.

use super::asking::asking;
use super::inspect::Question;
use super::quota::count;
use super::{check_line, check_text, encode, invalid, page_size, refuse, store};
use crate::config::Limits;
use crate::core::audit::Entry;
use crate::core::plan::plan;
use crate::core::quota::Action;
use crate::shell::Engine;
use crate::store::{PlanRow, SpecRow};
use meta_domain::fault::{Fault, InvalidField};
use meta_domain::id::{PlanId, SpecId, TenantId};
use meta_domain::limits::{
    DESCRIPTION_CHARS_MAX, INLINE_BYTES_MAX, STEP_TIMEOUT_MS_DEFAULT, TITLE_CHARS_MAX,
};
use meta_domain::plan::PlannedStep;
use meta_domain::project;
use meta_domain::source::{Source, SourceListing};
use meta_proto::convert::{Field, all, parse, parse_opt};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::plan_service_server::PlanService;
use meta_proto::orchestrator::spec_service_server::SpecService;
use meta_runtime::{new_id, now, principal};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

/// The shell of specs and plans.
#[derive(Clone)]
pub struct Specs {
    /// Where they are kept.
    pub engine: Engine,
    /// How often each tenant may make them.
    pub limits: Limits,
}

impl Specs {
    async fn spec(&self, tenant: TenantId, id: &str) -> Result<SpecRow, Status> {
        let id: SpecId = parse("spec_id", id).map_err(invalid)?;
        let spec = self.engine.tables.spec(tenant, id).await.map_err(store)?;
        spec.ok_or_else(|| refuse(Fault::not_found("SPEC_NOT_FOUND", "spec", id)))
    }

    /// Lets a runner read the source, and waits for its answer.
    async fn inspect(&self, tenant: TenantId, source: &Source) -> Result<SourceListing, Fault> {
        let listing = Question::Source(source.clone()).ask(&self.engine, tenant).await?;
        listing.map_err(|problem| Fault::invalid(vec![InvalidField::new("source", problem)]))
    }
}

#[tonic::async_trait]
impl SpecService for Specs {
    async fn create_spec(
        &self,
        request: Request<pb::CreateSpecRequest>,
    ) -> Result<Response<pb::CreateSpecResponse>, Status> {
        let caller = principal(&request)?;
        let asking = asking(&request)?;
        let spec = checked(request.into_inner(), &asking.actor).map_err(refuse)?;
        let (tenant, object) = (asking.tenant, format!("spec/{}", spec.id));
        let entry = Entry::new(tenant, spec.created_at, "meta.spec.created", &asking.actor, object);
        let entry = entry.by(asking.by).change(&Value::Null, &json!({ "title": spec.title }));
        let counted = count(&self.engine, self.limits, &caller, Action::Specs).await?;
        self.engine.tables.insert_spec(tenant, &spec, entry).await.map_err(store)?;
        Ok(counted.answer(pb::CreateSpecResponse { spec: Some(encode::spec(spec)) }))
    }

    async fn get_spec(
        &self,
        request: Request<pb::GetSpecRequest>,
    ) -> Result<Response<pb::GetSpecResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let spec = self.spec(tenant, &request.into_inner().spec_id).await?;
        let plan = self.engine.tables.latest_plan(tenant, spec.id).await.map_err(store)?;
        Ok(Response::new(pb::GetSpecResponse {
            spec: Some(encode::spec(spec)),
            latest_plan: plan.map(encode::plan),
        }))
    }

    async fn list_specs(
        &self,
        request: Request<pb::ListSpecsRequest>,
    ) -> Result<Response<pb::ListSpecsResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let before = parse_opt::<SpecId>("page_token", &body.page_token).map_err(invalid)?;
        let size = page_size(body.page_size, 25, 100);
        let mut rows = self.engine.tables.specs(tenant, before, size + 1).await.map_err(store)?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let last = rows.last().filter(|_| more).map(|r| r.id.to_string());
        Ok(Response::new(pb::ListSpecsResponse {
            specs: rows.into_iter().map(encode::spec).collect(),
            next_page_token: last.unwrap_or_default(),
        }))
    }
}

#[tonic::async_trait]
impl PlanService for Specs {
    async fn create_plan(
        &self,
        request: Request<pb::CreatePlanRequest>,
    ) -> Result<Response<pb::CreatePlanResponse>, Status> {
        let caller = principal(&request)?;
        let asking = asking(&request)?;
        let tenant = asking.tenant;
        let spec = self.spec(tenant, &request.into_inner().spec_id).await?;
        let counted = count(&self.engine, self.limits, &caller, Action::Plans).await?;
        let listing = match &spec.source {
            Some(source) => self.inspect(tenant, source).await.map_err(refuse)?,
            None => SourceListing::default(),
        };
        let graph = plan(&spec.steps, &listing).map_err(refuse)?;
        let row =
            PlanRow { id: PlanId(new_id()), spec: spec.id, version: 0, graph, created_at: now() };
        let entry = |plan: &PlanRow| {
            let object = format!("plan/{}", plan.id);
            let after = json!({ "spec": plan.spec, "version": plan.version });
            Entry::new(tenant, plan.created_at, "meta.plan.created", &asking.actor, object)
                .by(asking.by)
                .change(&Value::Null, &after)
        };
        let row = self.engine.tables.insert_plan(tenant, row, entry).await.map_err(store)?;
        Ok(counted.answer(pb::CreatePlanResponse { plan: Some(encode::plan(row)) }))
    }

    async fn get_plan(
        &self,
        request: Request<pb::GetPlanRequest>,
    ) -> Result<Response<pb::GetPlanResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let id: PlanId = parse("plan_id", &request.into_inner().plan_id).map_err(invalid)?;
        let row = self.engine.tables.plan(tenant, id).await.map_err(store)?;
        let row = row.ok_or_else(|| refuse(Fault::not_found("PLAN_NOT_FOUND", "plan", id)))?;
        Ok(Response::new(pb::GetPlanResponse { plan: Some(encode::plan(row)) }))
    }
}

fn checked(body: pb::CreateSpecRequest, actor: &str) -> Result<SpecRow, Fault> {
    let mut faults = Vec::new();
    let title = body.title.trim().to_owned();
    let chars = title.chars().count();
    if chars == 0 || chars > TITLE_CHARS_MAX {
        let problem = format!("{chars} characters (expected 1 to {TITLE_CHARS_MAX})");
        faults.push(InvalidField::new("title", problem));
    }
    faults.extend(check_line("title", &title).err());
    faults.extend(check_text("description", &body.description).err());
    let chars = body.description.chars().count();
    if chars > DESCRIPTION_CHARS_MAX {
        let problem = format!("{chars} characters (expected at most {DESCRIPTION_CHARS_MAX})");
        faults.push(InvalidField::new("description", problem));
    }
    if !(1..=2).contains(&body.mode) {
        faults.push(InvalidField::new("mode", "is not known (expected guided or freeform)"));
    }
    let source = body.source.map(Source::try_from).transpose().field("source");
    let source = source.and_then(|s| match s {
        Some(s) => check_source(&s).map(|()| Some(s)),
        None => Ok(None),
    });
    let source = source.unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let mut steps: Vec<PlannedStep> = all("steps", body.steps).unwrap_or_else(|fault| {
        faults.push(fault);
        Vec::new()
    });
    // a client that does not name a limit sends 0
    for step in steps.iter_mut().filter(|s| s.timeout_ms == 0) {
        step.timeout_ms = STEP_TIMEOUT_MS_DEFAULT;
    }
    if let Err(more) = check_planned(&steps) {
        faults.extend(more);
    }
    if !faults.is_empty() {
        return Err(Fault::invalid(faults));
    }
    Ok(SpecRow {
        id: SpecId(new_id()),
        title,
        description: body.description,
        mode: body.mode,
        source,
        steps,
        guided_input_json: body.guided_input_json,
        attachments_json: body.attachments_json,
        created_by: actor.to_owned(),
        created_at: now(),
    })
}

/// Steps that came over the wire are checked as if they stood in a file.
fn check_planned(steps: &[PlannedStep]) -> Result<(), Vec<InvalidField>> {
    let specs: Vec<project::StepSpec> = steps
        .iter()
        .map(|s| project::StepSpec {
            name: s.name.clone(),
            run: Some(s.run.clone()),
            needs: s.needs.clone(),
            timeout: Some(format!("{}ms", s.timeout_ms)),
            cache: s.cache.clone(),
            fix: s.fix.clone(),
            env: s.env.clone(),
            network: s.network,
            writable: s.writable.clone(),
            approval: Some(s.approval.as_str().to_owned()),
            runs_on: s.runs_on.clone(),
        })
        .collect();
    project::check_steps(&specs, "the spec").map(|_| ()).map_err(|faults| {
        faults
            .into_iter()
            .map(|f| InvalidField::new(f.path.replacen("step[", "steps[", 1), f.problem))
            .collect()
    })
}

fn check_source(source: &Source) -> Result<(), InvalidField> {
    match source {
        Source::Inline { files } => {
            let bytes: usize = files.iter().map(|(p, t)| p.len() + t.len()).sum();
            if bytes > INLINE_BYTES_MAX {
                let problem = format!("{bytes} bytes (expected at most {INLINE_BYTES_MAX})");
                return Err(InvalidField::new("source.files", problem));
            }
            match files.keys().find(|p| !project::is_inside(p)) {
                Some(path) => Err(InvalidField::new(
                    "source.files",
                    format!(
                        "{path:?} leaves the workspace (expected a relative path without '..')"
                    ),
                )),
                None => Ok(()),
            }
        }
        Source::Path { path } if !path.starts_with('/') || path.contains('\0') => {
            let problem = format!("{path:?} is not an absolute path");
            Err(InvalidField::new("source.path", problem))
        }
        Source::Git { url, reference } => {
            let known = ["https://", "http://", "ssh://", "git://", "file://", "git@"];
            if !known.iter().any(|k| url.starts_with(k)) || url.contains(char::is_whitespace) {
                let problem = format!(
                    "{url:?} is not a repository address (expected https://, ssh:// or git@)"
                );
                return Err(InvalidField::new("source.url", problem));
            }
            if reference.starts_with('-') || reference.contains(char::is_whitespace) {
                let problem = format!("{reference:?} is not a branch, tag or commit");
                return Err(InvalidField::new("source.ref", problem));
            }
            Ok(())
        }
        Source::Path { .. } => Ok(()),
    }
}
