"""What Schemathesis has to be told: how lines are written, read and judged."""

import json

import schemathesis
from schemathesis.core.parameters import ParameterLocation


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    return (json.dumps(value) + "\n").encode()


@schemathesis.deserializer("application/x-ndjson")
def first_line(context, response):
    lines = response.content.splitlines()
    return json.loads(lines[0]) if lines else {"line": 1, "key": None, "status": 200}


@schemathesis.check
def lines_are_judged(context, response, case):
    """A wrong body is refused: by the call, or by the line that is wrong."""
    path = case.operation.path
    if path not in ("/v1/batch", "/v1/cloudevents") or response.status_code >= 400:
        return None
    if case.meta is None or not case.meta.is_negative_at(ParameterLocation.BODY):
        return None
    if path == "/v1/batch":
        answers = [json.loads(line) for line in response.content.splitlines()]
    else:
        answers = json.loads(response.content)
    judged = isinstance(answers, list) and any(one["status"] >= 400 for one in answers)
    # A blank line has no answer.
    assert judged or answers == [], f"a wrong body is accepted: {case.body!r}"
