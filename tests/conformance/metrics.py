"""Read a process's metrics with Prometheus' own parser of OpenMetrics.

python metrics.py URL [ACCEPT]

Prints them as JSON: `content_type`, and the `families` with name, type, help and samples, each with name, labels, value
and, where there is one, the labels of its exemplar.
"""

import json
import sys
import urllib.request

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as prometheus

url, *accept = sys.argv[1:]
request = urllib.request.Request(url, headers=dict.fromkeys(["Accept"][: len(accept)], *accept))
with urllib.request.urlopen(request, timeout=10) as answer:
    content_type = answer.headers["Content-Type"]
    text = answer.read().decode()
parse = openmetrics if content_type.startswith("application/openmetrics-text") else prometheus


def shown(sample):
    exemplar = getattr(sample, "exemplar", None)
    return {
        "name": sample.name,
        "labels": sample.labels,
        "value": sample.value,
        "exemplar": exemplar and exemplar.labels,
    }


families = [
    {
        "name": family.name,
        "type": family.type,
        "help": family.documentation,
        "samples": [shown(sample) for sample in family.samples],
    }
    for family in parse.text_string_to_metric_families(text)
]
print(json.dumps({"content_type": content_type, "families": families}))
