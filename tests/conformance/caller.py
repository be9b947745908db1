"""Send one NATS request with an official client and print its reply as one JSON object.

python caller.py NATS_URL SUBJECT JSON_PAYLOAD [HEADER=VALUE ...]

Interim replies (those with the header `interim`) are skipped, but for the answer to a `_ping`, which is one. Prints
{"headers": {...}, "payload": ...} or {"error": "no responders" | "timeout"}.
The environment's INBOX_PREFIX, if set, is the prefix of the reply inbox.
"""

import asyncio
import json
import os
import sys

import nats
from nats.errors import TimeoutError as NatsTimeout

WAIT_SECONDS = 2.0


async def report(error):
    print(f"caller: {error!r}", file=sys.stderr)


def parsed(data):
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


async def final_reply(sub, asked):
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_SECONDS
    while (left := end - loop.time()) > 0:
        try:
            msg = await sub.next_msg(timeout=left)
        except NatsTimeout:
            break
        headers = dict(msg.headers or {})
        if headers.get("Status") == "503" and not msg.data:
            return {"error": "no responders"}
        if "interim" not in headers or asked.endswith("._ping"):
            return {"headers": headers, "payload": parsed(msg.data)}
    return {"error": "timeout"}


async def main(url, subject, payload, *pairs):
    headers = dict(pair.split("=", 1) for pair in pairs)
    options = {"allow_reconnect": False, "connect_timeout": 2, "error_cb": report}
    options.update(max_reconnect_attempts=1, reconnect_time_wait=0.1)  # bounds the connecting
    if prefix := os.environ.get("INBOX_PREFIX"):
        options["inbox_prefix"] = prefix.encode()
    nc = await nats.connect(url, **options)
    try:
        inbox = nc.new_inbox()
        sub = await nc.subscribe(inbox)
        await nc.publish(subject, payload.encode(), reply=inbox, headers=headers or None)
        answer = await final_reply(sub, subject)
    finally:
        await nc.close()
    print(json.dumps(answer))


if len(sys.argv) < 4:
    sys.exit(__doc__)
asyncio.run(main(*sys.argv[1:]))
