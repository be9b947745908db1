"""Serve the operation `get_user` in the database service's place, each request inside a span of OpenTelemetry's.

python otel_responder.py NATS_URL

Its own propagator reads the caller's context from the NATS headers. There is one user, `1`. Prints `is ready`, and then
each span, once it has ended, as the SDK shows it: a line of JSON.
"""

import asyncio
import json
import sys

import nats
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

OPERATION = "get_user"
SUBJECT = f"svc.database.{OPERATION}"
USER = {
    "user": {"id": "1", "name": "Monty", "email": "monty@example.com"},
    "profile_data": {"last_login": None, "preferences": {"theme": "dark", "notifications": True}},
}
OURS = {"replica": "python"}

provider = TracerProvider()
lines = ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
provider.add_span_processor(SimpleSpanProcessor(lines))
tracer = provider.get_tracer("otel_responder")
propagator = TraceContextTextMapPropagator()


def answer(request):
    """Returns headers and body, as docs/protocol.md has them."""
    if json.loads(request.data)["user_id"] == USER["user"]["id"]:
        return OURS, USER
    words = "no such user"
    error = {"Nats-Service-Error": words, "Nats-Service-Error-Code": "404"}
    return OURS | error, {"code": "not_found", "message": words}


async def main(url):
    nc = await nats.connect(url)

    async def handle(request):
        callers = propagator.extract(request.headers or {})
        with tracer.start_as_current_span(OPERATION, context=callers, kind=SpanKind.SERVER):
            headers, body = answer(request)
            await nc.publish(request.reply, json.dumps(body).encode(), headers=headers)

    await nc.subscribe(SUBJECT, queue="database", cb=handle)
    await nc.flush()
    print("is ready", flush=True)
    await asyncio.Event().wait()


if len(sys.argv) != 2:
    sys.exit(__doc__)
asyncio.run(main(sys.argv[1]))
