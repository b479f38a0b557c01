// Drives a whole run over gRPC: start, follow the events, approve, read the result.
//
// usage: node whole_run.mjs ADDRESS     such as 127.0.0.1:50051; METABUILDER_TOKEN holds an API key
//
// The stubs in gen/ are made from proto/ by `npm run generate`.
import { createClient, Code, ConnectError } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { PlanService, SpecMode, SpecService } from "./gen/metabuilder/orchestrator/v1/specs_pb.js";
import { ApprovalService, RunService, RunStatus } from "./gen/metabuilder/orchestrator/v1/runs_pb.js";

const SCAN = "echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1";
const DEADLINE_MS = 120_000;

const address = process.argv[2];
if (!address || !process.env.METABUILDER_TOKEN) {
  console.error("usage: METABUILDER_TOKEN=... node whole_run.mjs 127.0.0.1:50051");
  process.exit(2);
}
const credential = (next) => (request) => {
  request.header.set("authorization", `Bearer ${process.env.METABUILDER_TOKEN}`);
  return next(request);
};
const transport = createGrpcTransport({
  baseUrl: `http://${address}`,
  interceptors: [credential],
  defaultTimeoutMs: DEADLINE_MS,
});
const [specs, plans, runs, approvals] = [SpecService, PlanService, RunService, ApprovalService]
  .map((service) => createClient(service, transport));

const shell = (line) => ({ kind: { case: "shell", value: line } });
const { spec } = await specs.createSpec({
  title: "from Node",
  mode: SpecMode.FREEFORM,
  source: { kind: { case: "inline", value: { files: { "a.txt": "a\n" } } } },
  steps: [
    { name: "build", run: shell("test -s a.txt && echo built") },
    { name: "scan", run: shell(SCAN), needs: ["build"] },
  ],
});
await plans.createPlan({ specId: spec.id });
const { run } = await runs.createRun({ specId: spec.id });
console.log("run", run.id);

let decided = false;
for await (const { event } of runs.streamEvents({ runId: run.id, follow: true })) {
  console.log(String(event.seq), event.type, event.step);
  if (event.type === "autofix.escalated" && !decided) {
    decided = true;
    const { gates: [gate] } = await approvals.listGates({ runId: run.id });
    await approvals.decideGate({
      gateId: gate.id, approve: true, notes: "checked", planVersion: gate.planVersion,
    });
  }
}
const ended = (await runs.getRun({ runId: run.id })).run;

// an error says why in a way that programs read
try {
  await runs.getRun({ runId: "no id" });
  throw new Error("an id that is none was taken");
} catch (error) {
  if (!(error instanceof ConnectError) || error.code !== Code.InvalidArgument) throw error;
}
console.log(JSON.stringify({ run: run.id, status: RunStatus[ended.status], decided }));
if (ended.status !== RunStatus.SUCCEEDED || !decided) {
  throw new Error("the run did not go as it should");
}
