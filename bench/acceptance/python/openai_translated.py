"""The official client for Python against models whose providers speak other dialects: Claude by Anthropic and by Bedrock,
another model of Bedrock's, and, for the Responses API, a server that has chat completions only."""

import json
from concurrent.futures import ThreadPoolExecutor

import openai
from pydantic import BaseModel

from check import call, check, client, done, fails, now, same, script

ai = openai.OpenAI()

CLAUDES = ["claude-sonnet-4-5", "anthropic.claude-sonnet-4-5"]
MODELS = [*CLAUDES, "amazon.nova-pro"]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOLS = [{"type": "function", "name": name, "strict": True, "parameters": PARAMETERS} for name in ("weather", "time")]
FUNCTIONS = [{"type": "function", "function": {key: value for key, value in t.items() if key != "type"}} for t in TOOLS]


class Weather(BaseModel):
    city: str
    degrees: float
    sunny: bool


def ask(model, content, **more):
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


def chat(_, model):
    raw = ai.chat.completions.with_raw_response.create(**ask(model, "Hello!"))
    whole = raw.parse()
    same([whole.object, whole.model, raw.headers["x-jarvis-model"], whole.choices[0].finish_reason],
         ["chat.completion", f"{model}-2026-01-01", f"{model}-2026-01-01", "stop"])
    chunks = list(ai.chat.completions.create(**ask(model, "Hello!", stream=True, stream_options={"include_usage": True})))
    same("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), whole.choices[0].message.content, "deltas")
    same(chunks[-1].usage.total_tokens, whole.usage.total_tokens, "usage")


def chat_tools(_, model):
    request = ask(model, "call:weather,time", tools=FUNCTIONS)
    with ai.chat.completions.stream(**request) as events:
        message = events.get_final_completion().choices[0].message
    same([(c.function.name, list(c.function.parsed_arguments)) for c in message.tool_calls], [("weather", ["city"]), ("time", ["city"])])
    request["messages"] += [message.to_dict(), *({"role": "tool", "tool_call_id": c.id, "content": "21"} for c in message.tool_calls)]
    check(ai.chat.completions.create(**request).choices[0].message.content, "no text after the calls")


def chat_parsed(_, model):
    answer = ai.chat.completions.parse(**ask(model, "The weather, please."), response_format=Weather)
    check(isinstance(answer.choices[0].message.parsed, Weather), f"got {answer}")


def chat_reasoning(_, model):
    request = ask(model, "call:weather", tools=FUNCTIONS, reasoning_effort="low")
    message = ai.chat.completions.create(**request).choices[0].message
    check(message.reasoning_content and message.reasoning_details, f"got {message}")
    request["messages"] += [message.to_dict(), {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "21"}]
    answer = ai.chat.completions.create(**request).choices[0].message
    check(answer.content and answer.reasoning_content, f"got {answer}")


def refused(_, model, name, value):
    e = fails(lambda: ai.chat.completions.create(**ask(model, "Hello!", **{name: value})))
    same([type(e).__name__, e.status_code, e.param, e.code], ["BadRequestError", 400, name, "unsupported_parameter"])
    lenient = model.replace("anthropic.", "lenient.") if "." in model else f"lenient-{model}"
    raw = ai.chat.completions.with_raw_response.create(**ask(lenient, "Hello!", **{name: value}))
    same([raw.headers["x-jarvis-warning"], len(raw.parse().choices)], [f"dropped: {name}", 1])


def stored(_, model):
    made = ai.responses.create(model=model, input="Hello!")
    check(made.output_text and made.status == "completed", f"got {made}")
    same(ai.responses.retrieve(made.id).output_text, made.output_text)
    same([i.content[0].text for i in ai.responses.input_items.list(made.id)], ["Hello!"], "input")
    same(ai.responses.create(model=model, input="And now?", previous_response_id=made.id).previous_response_id, made.id)
    ai.responses.delete(made.id)
    check(isinstance(fails(lambda: ai.responses.retrieve(made.id)), openai.NotFoundError), "not deleted")


def response_stream(_, model):
    events = list(ai.responses.create(model=model, input="Hello!", stream=True))
    same([e.sequence_number for e in events], list(range(len(events))), "sequence numbers")
    whole = events[-1].response
    same([whole.status, "".join(e.delta for e in events if e.type == "response.output_text.delta")], ["completed", whole.output_text])


def response_tools(_, model):
    with ai.responses.stream(model=model, input="call:weather,time", tools=TOOLS) as events:
        asked = events.get_final_response()
    made = [i for i in asked.output if i.type == "function_call"]
    same([(c.name, list(json.loads(c.arguments))) for c in made], [("weather", ["city"]), ("time", ["city"])])
    results = [{"type": "function_call_output", "call_id": c.call_id, "output": "21"} for c in made]
    check(ai.responses.create(model=model, tools=TOOLS, input=results, previous_response_id=asked.id).output_text, "no text after the calls")


def response_parsed(_, model):
    answer = ai.responses.parse(model=model, input="The weather, please.", text_format=Weather)
    check(isinstance(answer.output_parsed, Weather), f"got {answer}")


def response_reasoning(_, model):
    """Reasoning items go back as they came; the simulation checks what proves the thoughts."""
    more = {"model": model, "tools": TOOLS, "reasoning": {"effort": "low", "summary": "auto"}, "store": False, "include": ["reasoning.encrypted_content"]}
    said = [{"role": "user", "content": "call:weather"}]
    asked = ai.responses.create(input=said, **more)
    same([i.type for i in asked.output], ["reasoning", "function_call"])
    said += [*asked.output, {"type": "function_call_output", "call_id": asked.output[1].call_id, "output": "21"}]
    same([i.type for i in ai.responses.create(input=said, **more).output], ["reasoning", "message"])


def web_search(_, model):
    e = fails(lambda: ai.responses.create(model=model, input="Hello!", tools=[{"type": "web_search"}]))
    same([type(e).__name__, e.status_code, e.param], ["BadRequestError", 400, "tools[0]"])


def broken(upstream, model, fault):
    upstream.append({"id": f"{fault}-{model}", "requests": 1})
    said = []

    def read():
        for chunk in ai.chat.completions.create(**ask(model, script(id=f"{fault}-{model}", fault=fault, event_delay_ms=20), stream=True)):
            said.extend(c.delta.content or "" for c in chunk.choices)

    e = fails(read)
    check(isinstance(e, openai.APIError), f"got {e!r}, want an APIError")
    same([e.code, e.type], ["upstream_error", "server_error"])
    check("".join(said), "the text before the failure is lost")


def closed(upstream, model):
    stream = ai.chat.completions.create(**ask(model, script(id=f"closed-{model}", event_delay_ms=20, tokens=2000), stream=True))
    for _ in range(5):
        next(stream)
    stream.close()
    upstream.append({"id": f"closed-{model}", "requests": 1, "left": now()})


def limited(upstream, model):
    upstream.append({"id": f"limited-{model}", "requests": 2, "gap": 1000})
    answer = ai.chat.completions.create(**ask(model, script(id=f"limited-{model}", status=429, retry_after_ms=1000, times=1)))
    same(answer.choices[0].message.content, "It works now.")


client("openai")
with ThreadPoolExecutor(16) as pool:
    for name in MODELS:
        for what, run in [("", chat), (" tools", chat_tools), (" parse", chat_parsed)]:
            pool.submit(call, f"chat{what} {name}", run, name)
        pool.submit(call, f"429 with Retry-After, then success {name}", limited, name)
        pool.submit(call, f"close a stream {name}", closed, name)
        for what in ("error-mid", "cut", "reset-mid"):
            pool.submit(call, f"stream with {what} {name}", broken, name, what)
    for name in CLAUDES:
        pool.submit(call, f"chat reasoning_effort and tools {name}", chat_reasoning, name)
        pool.submit(call, f"responses reasoning and tools {name}", response_reasoning, name)
        for what, value in {"n": 2, "logprobs": True, "seed": 1}.items():
            pool.submit(call, f"chat {what} {name}", refused, name, what, value)
    for name in [*MODELS, "chat-llama"]:
        for what, run in [("stored", stored), ("stream", response_stream), ("tools", response_tools), ("parse", response_parsed), ("web_search", web_search)]:
            pool.submit(call, f"responses {what} {name}", run, name)
done()
