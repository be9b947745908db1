"""An SMTP server that is not ours (aiosmtpd), which the first letters of a recipient tell what to do.

    smtp.py [--tls starttls|smtps] [--certificate FILE --key FILE] [--login USER:PASSWORD] [--port PORT]
            [--moods SEED [--life NUMBER]]

With --moods it also has moods of its own, which seed, recipient and the number of the try decide: it refuses for
now, hangs after DATA and takes nothing, takes the mail and closes without a word, is slow at each step, or so slow
that nobody waits for its word. Prints its port, and then each mail that it has accepted, as lines of JSON; `silent`
says that nobody was told.
"""

import argparse
import asyncio
import collections
import hashlib
import json
import logging
import ssl
import sys
import time

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

arguments = argparse.ArgumentParser()
arguments.add_argument("--tls", choices=["starttls", "smtps"])
arguments.add_argument("--certificate")
arguments.add_argument("--key")
arguments.add_argument("--login")
arguments.add_argument("--port", type=int, default=0)
arguments.add_argument("--moods")
# Which of its lives it is: who tries again in the next one meets another mood.
arguments.add_argument("--life", default="0")
arguments = arguments.parse_args()

# It logs the clients that break off, which is what the tests make them do.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)


def say(**what):
    print(json.dumps(what), flush=True)


tries = collections.Counter()
# Recipients that were seen before.
seen = set()


def mood(address):
    """Returns 0 to 99, the same in each run for each try of each recipient."""
    if arguments.moods is None:
        return 99
    tries[address] += 1
    text = f"{arguments.moods} {arguments.life} {address} {tries[address]}"
    return hashlib.sha256(text.encode()).digest()[0] * 100 // 256


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused"):
            return f"550 5.1.1 <{address}>: user unknown"
        if address.startswith("later"):
            return f"451 4.7.1 <{address}>: try again later"
        if address.startswith("once") and address not in seen:
            seen.add(address)
            return f"451 4.7.1 <{address}>: try again later"
        if address.startswith("sender"):
            return "550 5.1.8 <no-reply@example.com>: sender address rejected"
        if address.startswith("relay"):
            return "550 relay not permitted"
        if address.startswith("blocked"):
            return f"554 5.7.1 <{address}>: relay access denied"
        if address.startswith("tardy"):
            say(begun=address)
            await asyncio.sleep(9)
        session.mood = mood(address)
        if session.mood == 9:
            await asyncio.sleep(1.2)
        if session.mood == 10:
            await asyncio.sleep(3)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        address = envelope.rcpt_tos[0]
        if address.startswith("hang"):
            await asyncio.sleep(3600)
        if address.startswith("tardy"):
            await asyncio.sleep(9)
        if address.startswith("slow"):
            await asyncio.sleep(1.5)
        if address.startswith("full"):
            return f"552 5.2.2 <{address}>: mailbox full"
        now = session.mood
        if now == 9:
            await asyncio.sleep(1.2)
        if now == 10:
            await asyncio.sleep(3)
        # Longer than anybody waits.
        if now == 11:
            await asyncio.sleep(7)
        if now < 4:
            return f"451 4.3.0 <{address}>: not now"
        if now == 4:
            await asyncio.sleep(7)
            server.transport.abort()
            return "421 gone"
        say(
            to=envelope.rcpt_tos,
            sender=envelope.mail_from,
            text=envelope.content.decode("utf-8"),
            # With TLS from the start nobody gets here without.
            tls=session.ssl is not None or arguments.tls == "smtps",
            user=session.auth_data and session.auth_data.login.decode(),
            at=time.time(),
            silent=6 <= now < 9 or now == 11,
            slow=now == 11,
        )
        if 6 <= now < 9 or (address.startswith("lost") and address not in seen):
            seen.add(address)
            server.transport.abort()
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    user, password = arguments.login.split(":", 1)
    given = isinstance(data, LoginPassword) and (data.login, data.password)
    known = given == (user.encode(), password.encode())
    return AuthResult(success=known, handled=False, auth_data=data if known else None)


async def main():
    context = None
    if arguments.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.certificate, arguments.key)
    settings = {"hostname": "test", "enable_SMTPUTF8": False}
    if arguments.tls == "starttls":
        settings |= {"tls_context": context, "require_starttls": True}
    if arguments.login:
        settings |= {"authenticator": authenticate, "auth_required": True}
        settings |= {"auth_require_tls": arguments.tls == "starttls"}
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Handler(), **settings),
        "127.0.0.1",
        arguments.port,
        ssl=context if arguments.tls == "smtps" else None,
    )
    say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(0)
