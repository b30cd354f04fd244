"""Anthropic's official client for Python, against models of every kind of provider, with nothing set but the base URL and
the key, which it takes from the environment."""

from concurrent.futures import ThreadPoolExecutor

import anthropic
from pydantic import BaseModel

from check import call, check, client, done, fails, now, same, script

claude = anthropic.Anthropic()

CLAUDES = ["claude-sonnet-4-5", "anthropic.claude-sonnet-4-5"]
MODELS = ["gpt", "azure-gpt", "azure-v1-gpt", "llama", "amazon.nova-pro", *CLAUDES]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": name, "description": f"Tells the {name}.", "input_schema": PARAMETERS} for name in ("weather", "time")]
THINKING = {"type": "enabled", "budget_tokens": 2048}


class Weather(BaseModel):
    city: str
    degrees: float
    sunny: bool


def ask(model, content, **more):
    return {"model": model, "max_tokens": 4000, "messages": [{"role": "user", "content": content}], **more}


def text(message):
    return "".join(b.text for b in message.content if b.type == "text")


def kinds(message):
    return [b.type for b in message.content]


def create(**request):
    return claude.messages.create(**request)


def streamed(**request):
    with claude.messages.stream(**request) as stream:
        types = [e.type for e in stream if e.type in anthropic_events]
        same([types[0], *types[-2:]], ["message_start", "message_delta", "message_stop"], "first and last events")
        return stream.get_final_message()


anthropic_events = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]
WAYS = [("", create), (" stream", streamed)]


def answers(_, model):
    raw = claude.messages.with_raw_response.create(**ask(model, "Hello!"))
    message = raw.parse()
    same([message.type, message.role, kinds(message), message.stop_reason], ["message", "assistant", ["text"], "end_turn"])
    same([message.model, raw.headers["x-jarvis-model"]], [f"{model}-2026-01-01"] * 2)
    check(message.usage.input_tokens > 0 and text(message), f"got {message}")
    check(message._request_id and message._request_id == raw.headers["request-id"], "request id")
    whole = streamed(**ask(model, "Hello!"))
    same([text(whole), whole.usage.input_tokens, whole.usage.output_tokens], [text(message), message.usage.input_tokens, message.usage.output_tokens], "streamed")
    same("".join(claude.messages.stream(**ask(model, "Hello!")).__enter__().text_stream), text(message), "text_stream")


def tools(_, model, send):
    request = ask(model, "call:weather,time", tools=TOOLS)
    asked = send(**request)
    made = [b for b in asked.content if b.type == "tool_use"]
    same([asked.stop_reason, [(c.name, list(c.input)) for c in made]], ["tool_use", [("weather", ["city"]), ("time", ["city"])]])
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": "21"} for c in made]
    request["messages"] += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": results}]
    answer = send(**request)
    check(answer.stop_reason == "end_turn" and text(answer), f"got {answer}")


def runner(_, model, more):
    asked = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: Where.
        """
        asked.append(city)
        return "21"

    answer = claude.beta.messages.tool_runner(**ask(model, "call:weather"), tools=[weather], **more).until_done()
    check(len(asked) == 1 and text(answer), f"got {answer}")


def parsed(_, model):
    answer = claude.messages.parse(**ask(model, "The weather, please."), output_format=Weather)
    check(isinstance(answer.parsed_output, Weather), f"got {answer}")


def counted(_, model):
    request = ask(model, "How many tokens are these?", system="Count.", tools=TOOLS)
    most = request.pop("max_tokens")
    n = claude.messages.count_tokens(**request).input_tokens
    check(n > 10, f"counted {n}")
    if model in CLAUDES:
        same(n, create(**request, max_tokens=most).usage.input_tokens)


def thoughts(_, model, send):
    request = ask(model, "call:weather", thinking=THINKING, tools=TOOLS)
    asked = send(**request)
    same(kinds(asked), ["thinking", "tool_use"])
    check(asked.content[0].thinking and asked.content[0].signature, f"got {asked}")
    results = [{"type": "tool_result", "tool_use_id": asked.content[1].id, "content": "21"}]
    request["messages"] += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": results}]
    same(kinds(send(**request)), ["thinking", "text"])


def open_thoughts(upstream, send):
    """An open model's thoughts are shown, and come back, though nobody signed them."""
    name = f"thoughts-{send.__name__}"
    request = ask("llama", script(id=name, thinking="Let me see.", text="Yes."), thinking=THINKING)
    first = send(**request)
    same([b.thinking if b.type == "thinking" else b.text for b in first.content], ["Let me see.", "Yes."])
    request["messages"] += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "Sure?"}]
    send(**request)
    upstream.append({"id": name, "requests": 2, "body": {"messages.1.reasoning_content": "Let me see."}})


def limited(upstream, model):
    upstream.append({"id": f"limited-{model}", "requests": 2, "gap": 1000})
    same(text(create(**ask(model, script(id=f"limited-{model}", status=429, retry_after_ms=1000, times=1)))), "It works now.")


def mapped(upstream, model, status, kind, shown, word):
    upstream.append({"id": f"class{status}-{model}", "requests": 1})
    e = fails(lambda: claude.with_options(max_retries=0).messages.create(**ask(model, script(id=f"class{status}-{model}", status=status))))
    same([type(e).__name__, e.status_code, e.body["error"]["type"]], [kind, shown, word])
    check(e.request_id and e.body["request_id"] == e.request_id, f"got {e.body}")


def broken(upstream, model, fault):
    upstream.append({"id": f"{fault}-{model}", "requests": 1})
    said = []

    def read():
        with claude.messages.stream(**ask(model, script(id=f"{fault}-{model}", fault=fault, event_delay_ms=20))) as stream:
            said.extend(stream.text_stream)

    e = fails(read)
    check(isinstance(e, anthropic.APIError), f"got {e!r}, want an APIError")
    same(e.body["error"]["type"], "api_error")
    check("".join(said), "the text before the failure is lost")


def closed(upstream, model):
    with claude.messages.stream(**ask(model, script(id=f"closed-{model}", event_delay_ms=20, tokens=2000))) as stream:
        for _, _ in zip(range(5), stream):
            pass
    upstream.append({"id": f"closed-{model}", "requests": 1, "left": now()})


def mistakes(_):
    e = fails(lambda: create(**ask("no-such-model", "Hello!")))
    same([type(e).__name__, e.status_code, e.body["error"]["type"]], ["NotFoundError", 404, "not_found_error"])
    e = fails(lambda: anthropic.Anthropic(api_key="jv-this-key-is-nobodys").messages.create(**ask("gpt", "Hello!")))
    same([type(e).__name__, e.status_code, e.body["error"]["type"]], ["AuthenticationError", 401, "authentication_error"])
    e = fails(lambda: create(**{**ask("gpt", "Hello!"), "messages": []}))
    same([type(e).__name__, e.status_code, e.body["error"]["type"]], ["BadRequestError", 400, "invalid_request_error"])


def listed(_):
    names = [m.id for m in claude.models.list()]
    for model in MODELS:
        check(model in names, f"{model} is not listed")
    same(claude.models.retrieve("gpt").id, "gpt")


client("anthropic")
with ThreadPoolExecutor(16) as pool:
    for name in MODELS:
        pool.submit(call, f"messages {name}", answers, name)
        for way, sender in WAYS:
            pool.submit(call, f"messages tools{way} {name}", tools, name, sender)
        pool.submit(call, f"beta.messages.tool_runner {name}", runner, name, {})
        pool.submit(call, f"beta.messages.tool_runner without a thread {name}", runner, name, {"thread": False})
        pool.submit(call, f"messages.parse {name}", parsed, name)
        pool.submit(call, f"messages.count_tokens {name}", counted, name)
        pool.submit(call, f"429 with Retry-After, then success {name}", limited, name)
        pool.submit(call, f"close a stream {name}", closed, name)
        for what in ("error-mid", "cut", "reset-mid"):
            pool.submit(call, f"stream with {what} {name}", broken, name, what)
    for way, sender in WAYS:
        for name in CLAUDES:
            pool.submit(call, f"messages thinking and tools{way} {name}", thoughts, name, sender)
        pool.submit(call, f"messages thinking{way} llama", open_thoughts, sender)
    for answer in [(400, "BadRequestError", 400, "invalid_request_error"), (401, "InternalServerError", 502, "api_error"), (404, "NotFoundError", 404, "not_found_error"),
                   (413, "ContentTooLargeError", 413, "request_too_large"), (429, "RateLimitError", 429, "rate_limit_error"), (500, "InternalServerError", 502, "api_error"),
                   (504, "GatewayTimeoutError", 504, "timeout_error"), (529, "OverloadedError", 529, "overloaded_error")]:
        pool.submit(call, f"provider's {answer[0]}", mapped, CLAUDES[0], *answer)
    pool.submit(call, "mistakes", mistakes)
    pool.submit(call, "models", listed)
done()
