"""Failures: the client must see the class of error that OpenAI would have caused, retry what it may, and stop what it drops."""

from concurrent.futures import ThreadPoolExecutor

import openai

from check import call, check, fails, now, same


def ask(script, **more):
    """A chat request whose script tells the provider how to fail."""
    return {"model": "gpt", "messages": [{"role": "user", "content": f"[[{script}]]"}], **more}


def text_of(stream):
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def failures(client):
    with ThreadPoolExecutor(16) as pool:
        for made in [*retries(client), *classes(client), *streams(client), *departures(client)]:
            pool.submit(call, *made)


def retries(client):
    create = client.chat.completions.create

    def limited(upstream):
        upstream.append({"id": "limited", "requests": 2, "gap": 1000})
        answer = create(**ask("id=limited&status=429&retry_after_ms=1000&times=1"))
        same(answer.choices[0].message.content, "It works now.")

    def hiccup(upstream):
        upstream.append({"id": "hiccup", "requests": 2})
        same(create(**ask("id=hiccup&status=500&times=1")).choices[0].message.content, "It works now.")

    def reset(upstream):
        upstream.append({"id": "reset", "requests": 2})
        same(create(**ask("id=reset&fault=reset&times=1")).choices[0].message.content, "It works now.")

    def busy(upstream):
        upstream.append({"id": "busy", "requests": 3})
        same(text_of(create(**ask("id=busy&status=503&times=2", stream=True))), "It works now.")

    def first(upstream):
        upstream.append({"id": "first", "requests": 2})
        same(text_of(create(**ask("id=first&fault=error-first&times=1", stream=True))), "It works now.")

    def final(upstream, status, kind):
        upstream.append({"id": f"final{status}", "requests": 1})
        e = fails(lambda: create(**ask(f"id=final{status}&status={status}&should_retry=false")))
        check(isinstance(e, kind), f"got {e!r}, want {kind}")

    def broken(upstream):
        upstream.append({"id": "broken", "requests": 3})
        e = fails(lambda: create(**ask("id=broken&status=500")))
        same([type(e).__name__, e.status_code, e.code, e.type], ["InternalServerError", 502, "upstream_error", "server_error"])
        check(e.request_id, "no request id")

    return [
        ("429 with Retry-After, then success", limited), ("500, then success", hiccup), ("connection reset, then success", reset),
        ("503 twice, then a stream", busy),
        ("stream that begins with an error, then success", first),
        ("429 and x-should-retry: false", final, 429, openai.RateLimitError),
        ("500 and x-should-retry: false", final, 500, openai.InternalServerError),
        ("500 for good", broken),
    ]


def classes(client):
    create = client.with_options(max_retries=0).chat.completions.create
    hello = [{"role": "user", "content": "Hello!"}]

    def mapped(upstream, status, kind, shown, code):
        upstream.append({"id": f"class{status}", "requests": 1})
        e = fails(lambda: create(**ask(f"id=class{status}&status={status}")))
        same([type(e).__name__, e.status_code], [kind, shown])
        if code:
            same(e.code, code, "code")

    def wrong_key(_):
        e = fails(lambda: openai.OpenAI(api_key="jv-this-key-is-nobodys").chat.completions.create(model="gpt", messages=hello))
        same([type(e).__name__, e.status_code, e.code], ["AuthenticationError", 401, "invalid_api_key"])

    def unknown_model(_):
        e = fails(lambda: create(model="no-such-model", messages=hello))
        same([type(e).__name__, e.status_code, e.code, e.param], ["NotFoundError", 404, "model_not_found", "model"])

    def no_model(_):
        e = fails(lambda: create(model="", messages=hello))
        same([type(e).__name__, e.status_code, e.param], ["BadRequestError", 400, "model"])

    def unknown_url(_):
        e = fails(client.files.list)
        same([type(e).__name__, e.status_code, e.code], ["NotFoundError", 404, "unknown_url"])

    answers = [
        (400, "BadRequestError", 400, None), (401, "InternalServerError", 502, "upstream_auth"), (404, "NotFoundError", 404, "model_not_found"),
        (409, "ConflictError", 409, None), (422, "UnprocessableEntityError", 422, None), (429, "RateLimitError", 429, "upstream_rate_limited"),
        (503, "InternalServerError", 502, "upstream_error"), (504, "InternalServerError", 504, "timeout"),
    ]
    return [
        *[(f"provider's {answer[0]}", mapped, *answer) for answer in answers],
        ("wrong key", wrong_key), ("unknown model", unknown_model), ("no model", no_model), ("API that the gateway does not have", unknown_url),
    ]


def streams(client):
    """What came before the failure stays, then the error is raised. A failure right behind the first words would still be an
    ordinary error, so the provider takes its time."""

    def broken(upstream, fault):
        upstream.append({"id": fault, "requests": 1})
        text = []

        def read():
            for chunk in client.chat.completions.create(**ask(f"id={fault}&fault={fault}&event_delay_ms=20", stream=True)):
                text.extend(c.delta.content or "" for c in chunk.choices)

        e = fails(read)
        check(isinstance(e, openai.APIError), f"got {e!r}, want an APIError")
        same([e.code, e.type], ["upstream_error", "server_error"])
        check("".join(text), "the text before the failure is lost")

    return [(f"stream with {fault}", broken, fault) for fault in ("error-mid", "cut", "reset-mid")]


def departures(client):
    """When the client leaves, the provider must be left too."""
    create = client.chat.completions.create

    def close(upstream):
        stream = create(**ask("id=close&event_delay_ms=20&tokens=2000", stream=True))
        for _ in range(5):
            next(stream)
        stream.close()
        upstream.append({"id": "close", "requests": 1, "left": now()})

    def leave(upstream):
        with create(**ask("id=with&event_delay_ms=20&tokens=2000", stream=True)) as stream:
            next(stream)
        upstream.append({"id": "with", "requests": 1, "left": now()})

    def timeout(upstream):
        e = fails(lambda: client.with_options(timeout=0.3, max_retries=0).chat.completions.create(**ask("id=timeout&delay_ms=40000")))
        upstream.append({"id": "timeout", "requests": 1, "left": now()})
        check(isinstance(e, openai.APITimeoutError), f"got {e!r}, want APITimeoutError")

    return [("close a stream", close), ("leave a stream's with", leave), ("time-out", timeout)]
