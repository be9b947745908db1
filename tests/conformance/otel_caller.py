"""Ask over HTTP inside a span of OpenTelemetry's, whose context its own propagator puts into the headers.

python otel_caller.py URL METHOD [JSON]

Prints {"status": ..., "traceparent": that of the answer, "span": the span as the SDK shows it}.
"""

import json
import sys
import urllib.error
import urllib.request

from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

tracer = TracerProvider().get_tracer("otel_caller")


def ask(url, method, body):
    headers = {"content-type": "application/json"}
    inject(headers)
    request = urllib.request.Request(url, body and body.encode(), headers, method=method)
    try:
        return urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as answer:
        return answer


def main(url, method, body=None):
    with tracer.start_as_current_span(method, kind=SpanKind.CLIENT) as span:
        answer = ask(url, method, body)
    print(
        json.dumps(
            {
                "status": answer.status,
                "traceparent": answer.headers["traceparent"],
                "span": json.loads(span.to_json()),
            }
        )
    )


if len(sys.argv) < 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
