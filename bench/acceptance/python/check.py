"""What the programs share: the plan that the test driver wrote, and their report to it, one JSON line per call."""

import base64
import json
import os
import sys
import threading
import time
import traceback
from importlib.metadata import version
from urllib.parse import urlencode

with open(os.environ["ACCEPTANCE_PLAN"], encoding="utf-8") as f:
    _plan = json.load(f)

recordings = _plan["recordings"]
file = base64.b64decode(_plan["file"])  # stands for sounds and pictures

_writing = threading.Lock()


def report(**line):
    with _writing:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def client(name):
    report(version=version(name))


def done():
    report(done=True)


def call(name, run, *args):
    """Makes one call. What providers must have seen of its scripts goes into the list that run gets first."""
    upstream, error = [], ""
    try:
        run(upstream, *args)
    except Exception:
        error = traceback.format_exc()[-3000:]
    report(call=name, error=error, upstream=upstream)


async def acall(name, run, *args):
    upstream, error = [], ""
    try:
        await run(upstream, *args)
    except Exception:
        error = traceback.format_exc()[-3000:]
    report(call=name, error=error, upstream=upstream)


def same(got, want, what="answer"):
    """Names the first difference."""
    at = _difference(got, want, what)
    if at:
        raise AssertionError(at)


def _difference(got, want, path):
    if isinstance(got, dict) and isinstance(want, dict):
        pairs = [(key, got.get(key, "(absent)"), want.get(key, "(absent)")) for key in {**want, **got}]
    elif isinstance(got, (list, tuple)) and isinstance(want, (list, tuple)) and len(got) == len(want):
        pairs = [(i, *pair) for i, pair in enumerate(zip(got, want))]
    else:
        return "" if got == want else f"{path}: got {str(got)[:500]!r}, want {str(want)[:500]!r}"
    for key, g, w in pairs:
        at = _difference(g, w, f"{path}.{key}")
        if at:
            return at
    return ""


def check(ok, what):
    if not ok:
        raise AssertionError(what)


def fails(run):
    """Runs what must fail, and returns the error."""
    try:
        run()
    except Exception as e:
        return e
    raise AssertionError("got an answer, want an error")


def script(**what):
    """What a request says to meet a failure, or an answer that is agreed on: upstream_test.go reads it."""
    return f"[[{urlencode(what)}]]"


def now():
    return int(time.time() * 1000)
