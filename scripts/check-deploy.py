#!/usr/bin/env python3
"""Holds what is deployed against what reads it, without a cluster: the chart is rendered by Helm's own
library, every manifest checked against the schemas of Kubernetes; the Compose file and the files of
the environments are read and compared with the code.

usage: scripts/tool.sh python, and that with this file
"""
import pathlib
import re
import sys

import kubernetes_validate
import yaml
from helm_python import Chart

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy/helm/metabuilder"
# The oldest one that the chart is for, and a present one.
KUBERNETES = ["1.29", "1.34"]
SECRETS = {
    "serviceToken": "s" * 44, "runnerToken": "runner:" + "r" * 44, "webhooksKey": "w" * 44,
    "orchestratorDatabase": "postgres://a:b@db/orchestrator",
    "flagResolverDatabase": "postgres://a:b@db/flags",
    "autofixerDatabase": "postgres://a:b@db/autofixer",
}
SMALL = {
    "environment": "staging", "secrets": SECRETS,
    "networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False},
    "migrate": {"enabled": False},
    "services": {name: {"replicas": 1, "autoscaling": {"enabled": False, "max": 1, "cpu": 70}}
                 for name in ("classifier", "autofixer", "flag-resolver", "orchestrator", "gateway")},
}
LARGE = {
    "secrets": {"existing": "mine"}, "objects": "s3://bucket/prefix", "publicUrl": "https://b.example",
    "otlpEndpoint": "http://collector.monitoring:4317", "env": {"AWS_REGION": "eu-1"},
    "envFrom": [{"secretRef": {"name": "s3"}}], "image": {"pullSecrets": [{"name": "pull"}]},
    "services": {"autofixer": {"env": {"METABUILDER_LLM_MODEL": "m"}}},
    "runner": {"labels": ["gpu"], "autoscaling": {"enabled": True, "max": 9, "cpu": 80},
               "nodeSelector": {"pool": "builds"}, "egress": [{"ports": [{"port": 443}]}]},
    "networkPolicy": {"gatewayFrom": [{"namespaceSelector": {}}],
                      "metricsFrom": [{"namespaceSelector": {}}], "servicesTo": [{"ports": [{"port": 5432}]}]},
}
REFUSED = {
    "objects": {"secrets": SECRETS},
    "serviceToken": {"objects": "s3://b", "secrets": {}},
    "environment": {"objects": "s3://b", "secrets": SECRETS, "environment": "prod"},
    "no_such_value": {"objects": "s3://b", "secrets": SECRETS, "no_such_value": 1},
}


def fail(problem):
    """Ends with what is wrong."""
    sys.exit(f"check-deploy: {problem}")


def documents(rendered):
    """Every manifest of a rendered chart, with the template it comes from."""
    for template, text in sorted(rendered.items()):
        if not template.endswith((".yaml", ".yml")):
            continue
        for document in yaml.safe_load_all(text):
            if document:
                yield template, document


def pods(manifests):
    """Every pod's template."""
    for _, manifest in manifests:
        template = manifest.get("spec", {}).get("template")
        if template:
            yield manifest["metadata"]["name"], template


def check_manifests(values, name):
    """Renders with these values; the number of manifests."""
    with Chart.load(CHART) as chart:
        chart.validate_schema(values)
        manifests = list(documents(chart.render(values, name="builder", namespace="builds")))
    for template, manifest in manifests:
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                fail(f"{name}: {template}: {manifest['kind']} for {version}: {error}")
    for owner, template in pods(manifests):
        for container in template["spec"]["containers"]:
            context = container["securityContext"]
            if not (context["runAsNonRoot"] and context["readOnlyRootFilesystem"]
                    and context["capabilities"] == {"drop": ["ALL"]}):
                fail(f"{name}: {owner}/{container['name']} has more rights than it needs")
    check_selectors(manifests, name)
    return manifests


def check_selectors(manifests, name):
    """Services, budgets and policies choose pods that exist."""
    labels = [template["metadata"]["labels"] for _, template in pods(manifests)]
    for _, manifest in manifests:
        spec = manifest.get("spec", {})
        selectors = []
        if manifest["kind"] == "Service":
            selectors.append(spec["selector"])
        if manifest["kind"] == "PodDisruptionBudget":
            selectors.append(spec["selector"]["matchLabels"])
        if manifest["kind"] == "NetworkPolicy":
            selectors.append(spec["podSelector"]["matchLabels"])
            for rule in spec.get("ingress", []) + spec.get("egress", []):
                for peer in rule.get("from", []) + rule.get("to", []):
                    selectors.append(peer.get("podSelector", {}).get("matchLabels", {}))
        for selector in selectors:
            if not any(selector.items() <= known.items() for known in labels):
                fail(f"{name}: {manifest['kind']} {manifest['metadata']['name']} chooses no pod")


def check_refusals():
    """Values that would not work are refused with a word about them."""
    for word, values in REFUSED.items():
        try:
            with Chart.load(CHART) as chart:
                chart.validate_schema(values)
                chart.render(values, name="builder", namespace="builds")
        except Exception as error:  # each kind of refusal is of another class
            if word not in str(error):
                fail(f"the refusal of {word} does not name it: {error}")
        else:
            fail(f"values without a good {word} are taken")


def targets():
    """The images that the Containerfile makes."""
    text = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8")
    stages = set(re.findall(r"(?m)^FROM .* AS ([a-z-]+)$", text))
    return stages - {"build", "base", "executing"}


def check_images(manifests):
    """Every image that is deployed is one that is made."""
    made = targets()
    for owner, template in pods(manifests):
        for container in template["spec"]["containers"]:
            image = container["image"].rsplit("/", 1)[1].split(":")[0]
            if image not in made:
                fail(f"{owner} wants the image {image}, and there are {sorted(made)}")
    return made


def missing(path):
    """Whether the folder of the Compose file does not lead there."""
    return not (ROOT / "deploy" / path).exists() and (ROOT / "ops").exists()


def check_compose(made):
    """The Compose file names images that are made, files that exist, services that it has."""
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    for name, service in services.items():
        build = service.get("build")
        if build and build["target"] not in made:
            fail(f"compose: {name} builds {build['target']}, and there are {sorted(made)}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0] if isinstance(volume, str) else volume.get("source", "")
            if source.startswith(".") and missing(source):
                fail(f"compose: {name} mounts {source}, which is not there")
            if not source.startswith((".", "/")) and source not in compose["volumes"]:
                fail(f"compose: {name} mounts the volume {source}, which is not declared")
        wanted = service.get("depends_on", {})
        for other in wanted:
            if other not in services:
                fail(f"compose: {name} depends on {other}, which is not there")
        for word in re.findall(r"http://([a-z-]+):", yaml.dump(service)):
            if word not in services and word not in ("localhost",):
                fail(f"compose: {name} calls {word}, which is not there")
        if build and not service.get("read_only"):
            fail(f"compose: {name} can write its root")
    configs = compose.get("configs", {})
    for name, config in configs.items():
        if "file" in config and missing(config["file"]):
            fail(f"compose: the config {name} is not there: {config['file']}")
    return len(services)


def check_environments():
    """The files of the environments say what the code says for each."""
    documented = (ROOT / "docs/SETTINGS.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `\w+` \| `(\w+)` \|[^|]*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", documented)
    wanted = {name: {row[0]: row[1 + i].strip(" *") for row in rows}
              for i, name in enumerate(("development", "staging", "production"))}
    for name, values in wanted.items():
        if len(values) != 4:
            fail(f"docs/SETTINGS.md names {len(values)} settings (expected 4)")
        text = (ROOT / f"deploy/env/{name}.env").read_text(encoding="utf-8")
        given = dict(line.split("=", 1) for line in text.splitlines()
                     if line.strip() and not line.startswith("#"))
        if given.get("META_BUILDER_ENV") != name:
            fail(f"deploy/env/{name}.env is for {given.get('META_BUILDER_ENV')}")
        for variable, value in values.items():
            if given.get(variable) != value:
                fail(f"deploy/env/{name}.env has {variable}={given.get(variable)}, documented is {value}")


def main():
    """See the module."""
    small = check_manifests(SMALL, "small")
    large = check_manifests(LARGE, "large")
    check_refusals()
    made = check_images(small + large)
    services = check_compose(made)
    check_environments()
    print(f"{len(small)} and {len(large)} manifests fit Kubernetes {' and '.join(KUBERNETES)}; "
          f"{services} services of the Compose file, {len(made)} images, 3 environments")


if __name__ == "__main__":
    main()
