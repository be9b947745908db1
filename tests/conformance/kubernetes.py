"""Build the kustomizations below a folder and validate what they make, as `kubernetes-validate --strict` does.

python kubernetes.py FOLDER VERSION...

Prints JSON: `built`, for each kustomization a list of its resources; `faults`, what is wrong. A component is built on
`base`. Builds what kustomize would of what these files use of it: resources, components, patches (strategic merge and
JSON), images, generated ConfigMaps. It leaves out the hashes in their names, and stops at a field that it doesn't know.
"""

import json
import sys
from copy import deepcopy
from pathlib import Path

import yaml
from kubernetes_validate import SchemaNotFoundError, ValidationError, validate

KNOWN = {"apiVersion", "kind", "namespace", "resources", "components", "patches", "images", "configMapGenerator"}
# By which field a strategic merge tells the elements of a list; other lists are replaced.
KEYS = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath", "ports": "containerPort"}


def load(file):
    return [one for one in yaml.safe_load_all(file.read_text()) if one]


def merge(into, patch):
    for name, value in patch.items():
        there, key = into.get(name), KEYS.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            merge(there, value)
        elif isinstance(there, list) and key:
            for element in value:
                same = [one for one in there if one[key] == element[key]]
                merge(same[0], element) if same else there.append(deepcopy(element))
        else:
            into[name] = deepcopy(value)


def change(resource, operation):
    *way, last = operation["path"].strip("/").split("/")
    at = resource
    for step in way:
        at = at[int(step) if isinstance(at, list) else step]
    match operation["op"], last:
        case "remove", _:
            del at[last]
        case "add", "-":
            at.append(deepcopy(operation["value"]))
        case "add", _:
            at[last] = deepcopy(operation["value"])
        case unknown:
            raise ValueError(f"{unknown} is not known here")


def patched(resources, patch, folder):
    file = patch.get("path")
    content = yaml.safe_load((folder / file).read_text() if file else patch["patch"])
    for resource in resources:
        if resource["kind"] != patch["target"]["kind"]:
            continue
        if isinstance(content, list):
            for operation in content:
                change(resource, operation)
        else:
            merge(resource, {name: value for name, value in content.items() if name != "metadata"})


def configure(resources, generator):
    data = dict(literal.split("=", 1) for literal in generator["literals"])
    name = generator["name"]
    if generator.get("behavior") == "merge":
        (there,) = [one for one in resources if one["kind"] == "ConfigMap" and one["metadata"]["name"] == name]
        there["data"].update(data)
    else:
        resources.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})


def tag(resources, image):
    for resource in resources:
        spec = resource.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        for container in spec.get("template", {}).get("spec", {}).get("containers", []):
            if container["image"].split(":")[0].split("/")[-1] == image["name"]:
                name = image.get("newName") or container["image"].split(":")[0]
                container["image"] = f"{name}:{image['newTag']}"


def build(folder, below=()):
    resources = deepcopy(list(below))
    (wanted,) = load(folder / "kustomization.yaml")
    if unknown := wanted.keys() - KNOWN:
        raise ValueError(f"{folder}: {unknown} is not known here")
    for name in wanted.get("resources", []):
        resources += build(folder / name) if (folder / name).is_dir() else load(folder / name)
    for generator in wanted.get("configMapGenerator", []):
        configure(resources, generator)
    for name in wanted.get("components", []):
        resources = build(folder / name, resources)
    for patch in wanted.get("patches", []):
        patched(resources, patch, folder)
    for image in wanted.get("images", []):
        tag(resources, image)
    for resource in resources:
        if "namespace" in wanted:
            resource["metadata"]["namespace"] = wanted["namespace"]
    return resources


def unlisted(folder):
    """Tells which files beside a kustomization it doesn't name, and which it names that are not there."""
    (wanted,) = load(folder / "kustomization.yaml")
    named = {*wanted.get("resources", []), *(patch["path"] for patch in wanted.get("patches", []) if "path" in patch)}
    there = {file.name for file in folder.iterdir() if file.is_file()}
    return there ^ {"kustomization.yaml", *(name for name in named if not (folder / name).is_dir())}


def refused(resource, version):
    try:
        validate(resource, version, strict=True)
    except (ValidationError, SchemaNotFoundError) as error:
        at = ".".join(str(step) for step in getattr(error, "path", []))
        yield f"{resource['kind']} {resource['metadata']['name']}, {version}: {at}: {error.message}"


root, *versions = sys.argv[1:]
root = Path(root)
built, faults = {}, []
for file in sorted(root.rglob("kustomization.yaml")):
    folder = file.parent
    (kind,) = [one["kind"] for one in load(file)]
    built[str(folder.relative_to(root))] = build(folder, build(root / "base") if kind == "Component" else ())
    faults += [f"{folder.relative_to(root)}: {name} is listed or there, and not both" for name in unlisted(folder)]
for resources in built.values():
    faults += [fault for one in resources for version in versions for fault in refused(one, version)]
if not built or not versions:
    raise SystemExit(f"nothing to validate in {root}, or by no version")
print(json.dumps({"built": built, "faults": sorted(set(faults))}))
