#!/usr/bin/env python3
"""Drives a whole run over gRPC: start, follow the events, approve, read the result.

usage: whole_run.py ADDRESS        such as 127.0.0.1:50051; METABUILDER_TOKEN holds an API key

The stubs are made from proto/ with Python's own tools (pip install grpcio-tools).
"""
import importlib
import json
import os
import pathlib
import sys
import tempfile

import grpc
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[3] / "proto"
DEADLINE_SECONDS = 120
# A step that only a person can let pass.
SCAN = "echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1"


def stubs(folder):
    """The modules made from our contracts."""
    files = sorted(str(p.relative_to(PROTO)) for p in PROTO.glob("metabuilder/**/*.proto"))
    include = pathlib.Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{include}", f"--python_out={folder}",
                 f"--grpc_python_out={folder}", *files]
    if protoc.main(arguments) != 0:
        sys.exit("the contracts do not compile")
    sys.path.insert(0, folder)

    def module(name):
        return importlib.import_module(f"metabuilder.{name}")
    return module


def main():
    """See the module."""
    address = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    metadata = (("authorization", f"Bearer {os.environ['METABUILDER_TOKEN']}"),)
    with tempfile.TemporaryDirectory() as folder, grpc.insecure_channel(address) as channel:
        module = stubs(folder)
        specs, runs = module("orchestrator.v1.specs_pb2"), module("orchestrator.v1.runs_pb2")
        spec_rpc, run_rpc = module("orchestrator.v1.specs_pb2_grpc"), module("orchestrator.v1.runs_pb2_grpc")
        plan = module("common.v1.plan_pb2")

        def call(method, message):
            return method(message, metadata=metadata, timeout=DEADLINE_SECONDS)

        step = plan.PlannedStep
        spec = call(spec_rpc.SpecServiceStub(channel).CreateSpec, specs.CreateSpecRequest(
            title="from Python",
            mode=specs.SPEC_MODE_FREEFORM,
            source=plan.Source(inline=plan.InlineSource(files={"a.txt": "a\n"})),
            steps=[
                step(name="build", run=plan.Command(shell="test -s a.txt && echo built")),
                step(name="scan", run=plan.Command(shell=SCAN), needs=["build"]),
            ],
        )).spec
        call(spec_rpc.PlanServiceStub(channel).CreatePlan, specs.CreatePlanRequest(spec_id=spec.id))
        run_stub = run_rpc.RunServiceStub(channel)
        run = call(run_stub.CreateRun, runs.CreateRunRequest(spec_id=spec.id)).run
        print("run", run.id)

        approvals = run_rpc.ApprovalServiceStub(channel)
        follow = runs.StreamEventsRequest(run_id=run.id, follow=True)
        decided = False
        for answer in call(run_stub.StreamEvents, follow):
            event = answer.event
            print(event.seq, event.type, event.step)
            if event.type == "autofix.escalated" and not decided:
                decided = True
                gate = call(approvals.ListGates, runs.ListGatesRequest(run_id=run.id)).gates[0]
                call(approvals.DecideGate, runs.DecideGateRequest(
                    gate_id=gate.id, approve=True, notes="checked", plan_version=gate.plan_version))
        run = call(run_stub.GetRun, runs.GetRunRequest(run_id=run.id)).run

        # an error says why in a way that programs read
        try:
            call(run_stub.GetRun, runs.GetRunRequest(run_id="no id"))
            sys.exit("an id that is none was taken")
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
                sys.exit(f"an id that is none was answered with {error.code()}")
        print(json.dumps({"run": run.id, "status": runs.RunStatus.Name(run.status), "decided": decided}))
        if run.status != runs.RUN_STATUS_SUCCEEDED or not decided:
            sys.exit("the run did not go as it should")


if __name__ == "__main__":
    main()
