"""Ask services about themselves, and read their answers with an official client's own types.

python discover.py NATS_URL VERB SUBJECT COUNT

Prints a JSON array with COUNT objects (fewer when they don't come in time), sorted by name:
{"said": the answer, "read": what the client's type holds after reading it}.
"""

import asyncio
import json
import sys

import nats
from nats.errors import TimeoutError as NatsTimeout
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

WAIT_SECONDS = 2.0
TYPES = {"PING": ServicePing, "INFO": ServiceInfo, "STATS": ServiceStats}


async def answers(nc, subject, count):
    inbox = nc.new_inbox()
    sub = await nc.subscribe(inbox)
    await nc.publish(subject, b"", reply=inbox)
    said = []
    while len(said) < count:
        try:
            said.append(json.loads((await sub.next_msg(timeout=WAIT_SECONDS)).data))
        except NatsTimeout:
            break
    return said


async def main(url, verb, subject, count):
    nc = await nats.connect(url, allow_reconnect=False, connect_timeout=2)
    try:
        said = await answers(nc, subject, int(count))
    finally:
        await nc.close()
    said.sort(key=lambda answer: answer["name"])
    read = [TYPES[verb].from_dict(answer).to_dict() for answer in said]
    print(json.dumps([{"said": s, "read": r} for s, r in zip(said, read)]))


if len(sys.argv) != 5:
    sys.exit(__doc__)
asyncio.run(main(*sys.argv[1:]))
