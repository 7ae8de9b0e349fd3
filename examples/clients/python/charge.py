#!/usr/bin/env python3
"""Charges one chat session: python3 charge.py [http://127.0.0.1:8868 ...], instances in order."""

import json
import sys
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timezone

INSTANCES = sys.argv[1:] or ["http://127.0.0.1:8868"]
AGAIN = {408, 429, 502, 503, 504}  # The same request, a little later; 507: the same, elsewhere.
GIVE_UP_AFTER = 60.0  # Seconds; then keep the request and try it when the gateway is back.


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def post(path, body):
    """The answer; the same key and body every time, so a repeat never charges twice."""
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    deadline, attempt = time.monotonic() + GIVE_UP_AFTER, 0
    while True:
        base = INSTANCES[attempt % len(INSTANCES)]
        pause = min(0.2 * 2**attempt, 5.0)
        try:
            request = urllib.request.Request(base + path, data, headers)
            with urllib.request.urlopen(request, timeout=35) as answer:  # api.max_wait and 5 s
                return json.load(answer)
        except urllib.error.HTTPError as error:
            in_progress = error.code == 409 and error.headers.get("Retry-After")
            if not (error.code in AGAIN or error.code == 507 or in_progress):
                raise SystemExit(f"{error.code} {error.read().decode()}")  # Ours to mend.
            pause = max(pause, float(error.headers.get("Retry-After") or 0))
        except OSError:
            pass  # No connection, or it was lost: the trigger may be charged already.
        attempt += 1
        if time.monotonic() + pause > deadline:
            raise SystemExit(f"{path}: no answer in {GIVE_UP_AFTER} s")
        time.sleep(pause)


session = str(uuid.uuid4())
start = post("/v1/sessions", {
    "sessionId": session, "timestamp": now(), "service": "chat",
    "subscriber": [{"type": "e164", "value": "+12025550123"}], "to": ["tel:+12025550145"],
    "request": [{"units": {"seconds": 600}}],
})
print("start", start["outcome"], start["advice"]["service"])
if start["advice"]["service"] == "continue":  # `denied` is a right answer: do not begin.
    end = post(f"/v1/sessions/{session}/terminate", {
        "trigger": "bye-received", "timestamp": now(),
        "usage": [{"units": {"seconds": 311, "messages": 14}}],  # Since the session began.
    })
    print("terminate", end["outcome"], json.dumps(end.get("debit")))
