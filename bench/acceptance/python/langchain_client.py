"""LangChain's OpenAI package, over chat completions and over the Responses API."""

import json

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from check import call, check, client, done, fails, now, recordings, same

PROMPT = "Please say what was recorded."

MODELS = [
    ("chat", {"model": "gpt"}), ("chat of Azure", {"model": "azure-gpt"}), ("chat of vLLM", {"model": "llama"}),
    ("responses", {"model": "gpt", "use_responses_api": True}), ("responses of Azure", {"model": "azure-v1-gpt", "use_responses_api": True}),
]


class Weather(BaseModel):
    """The weather."""

    city: str
    degrees: float
    sunny: bool


@tool
def weather(city: str) -> str:
    """The weather."""
    return "21"


def replay(_, r):
    model = ChatOpenAI(model=r["model"], use_responses_api=r["endpoint"] == "responses", stream_usage=True)
    if r["stream"]:
        message = None
        for chunk in model.stream(PROMPT):
            message = chunk if message is None else message + chunk
    else:
        message = model.invoke(PROMPT)
    want = r["final"]
    same(message.text, want["text"], "text")
    same([[c["id"], c["name"], c["args"]] for c in message.tool_calls],
         [[c["id"], c["name"], json.loads(c["arguments"])] for c in want["calls"]], "calls")
    same(message.response_metadata.get("finish_reason") or message.response_metadata.get("status"), want["finish"], "finish")
    if want["usage"]:
        same([message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]], [want["usage"]["input"], want["usage"]["output"]], "usage")


def tools(_, options):
    model = ChatOpenAI(**options).bind_tools([weather])
    messages = [HumanMessage("call:weather")]
    asking = model.invoke(messages)
    same([[c["name"], list(c["args"])] for c in asking.tool_calls], [["weather", ["city"]]])
    check(model.invoke([*messages, asking, weather.invoke(asking.tool_calls[0])]).text, "no text after the call")
    message = None
    for chunk in model.stream(messages):
        message = chunk if message is None else message + chunk
    same([[c["name"], list(c["args"])] for c in message.tool_calls], [["weather", ["city"]]], "streamed calls")


def structured(_, options):
    answer = ChatOpenAI(**options).with_structured_output(Weather).invoke("The weather, please.")
    check(isinstance(answer, Weather), f"got {answer}")


def embeddings(_, model):
    # check_embedding_ctx_length would load a tokenizer from the Internet.
    embedder = OpenAIEmbeddings(model=model, check_embedding_ctx_length=False)
    first, second = embedder.embed_documents(["Hello!", "Good bye!"])
    same(embedder.embed_query("Hello!"), first)
    check(len(first) == len(second) > 0, "no embedding")


def completion(_, r):
    same(OpenAI(model=r["model"]).invoke(PROMPT), r["final"]["text"])


def limited(upstream):
    upstream.append({"id": "limited", "requests": 2, "gap": 1000})
    same(ChatOpenAI(model="gpt").invoke("[[id=limited&status=429&retry_after_ms=1000&times=1]]").text, "It works now.")


def bad(upstream):
    upstream.append({"id": "bad", "requests": 1})
    same(fails(lambda: ChatOpenAI(model="gpt").invoke("[[id=bad&status=400]]")).status_code, 400)


def left(upstream):
    stream = ChatOpenAI(model="gpt").stream("[[id=break&event_delay_ms=20&tokens=2000]]")
    next(stream)
    stream.close()
    upstream.append({"id": "break", "requests": 1, "left": now()})


client("langchain-openai")
for r in recordings:
    if r["plain"] and r["status"] < 400:
        call(f"{'stream' if r['stream'] else 'invoke'} {r['name']}", replay, r)
    if r["name"] == "completion-basic":
        call(f"invoke {r['name']}", completion, r)
for name, options in MODELS:
    call(f"bind_tools, {name}", tools, options)
    call(f"with_structured_output, {name}", structured, options)
for name in ("embedder", "azure-embedder", "llama-embedder"):
    call(f"embed_documents, embed_query {name}", embeddings, name)
call("429 with Retry-After, then success", limited)
call("provider's 400", bad)
call("close a stream", left)
done()
