"""The official client for Python, with nothing set but the base URL and the key, which it takes from the environment."""

import json
import time

import openai
from pydantic import BaseModel

from check import call, check, client, done, fails, file, recordings, same
from errors import failures
from recorded import (compare, compare_chat, compare_error, compare_events, compare_response, fault, floats, helped, method, upload, usage_at_end,
                      without_stream)

ai = openai.OpenAI()

WEATHER = {
    "name": "weather", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
}


class Weather(BaseModel):
    city: str
    degrees: float
    sunny: bool


def replay(_, r):
    create, request = method(ai, r)
    if fault(r):
        create, request = method(ai.with_options(max_retries=0), r)
        compare_error(fails(lambda: list(create(**request))), r)
    elif r["stream"]:
        compare_events(create(**request), r)
    else:
        compare(create(**request), r)


def unasked_usage(_, r):
    request = {key: value for key, value in r["request"].items() if key != "stream_options"}
    same([c.to_dict(mode="json") for c in ai.chat.completions.create(**request)], r["events"][:-1], "events")


def chat_helper(_, r):
    with ai.chat.completions.stream(**without_stream(r)) as stream:
        text = "".join(e.delta for e in stream if e.type == "content.delta")
        try:
            compare_chat(stream.get_final_completion(), r)
        except openai.LengthFinishReasonError as e:
            compare_chat(e, r)
    if len(r["final"]["choices"]) == 1:
        same(text, r["final"]["text"], "deltas")


def response_helper(_, r):
    with ai.responses.stream(**without_stream(r)) as stream:
        compare_response(stream.get_final_response(), r)


def decoded(_, r):
    """Leaves the format to the client, which asks for base64 and gives numbers."""
    request = {key: value for key, value in r["request"].items() if key != "encoding_format"}
    answer = ai.embeddings.create(**request)
    same([d.embedding for d in answer.data], [floats(d["embedding"]) for d in r["body"]["data"]], "embeddings")


def replays():
    for r in recordings:
        call(f"replay {r['name']}", replay, r)
    for r in recordings:
        if helped(r) and r["endpoint"] == "responses":
            call(f"responses.stream {r['name']}", response_helper, r)
        elif helped(r):
            call(f"chat.completions.stream {r['name']}", chat_helper, r)
            if usage_at_end(r):
                call(f"unasked usage {r['name']}", unasked_usage, r)
        if r.get("request", {}).get("encoding_format") == "base64" and r["status"] == 200:
            call(f"decoded {r['name']}", decoded, r)


def raw(_, model):
    answer = ai.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": "Hello!"}])
    check(answer.request_id and answer.request_id == answer.headers["x-request-id"], "request id")
    same(answer.headers["x-jarvis-model"], f"{model}-2026-01-01", "x-jarvis-model")
    check(answer.parse().choices[0].message.content, "no text")


def headers(_, model):
    """What is of the connection, of the gateway or of the client alone stays where it is; the driver looks what went on."""
    ai.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello!"}], extra_headers={
        "Connection": "keep-alive, X-Hop", "X-Hop": "1", "TE": "trailers", "Keep-Alive": "timeout=5", "Proxy-Authorization": "Basic eDp5",
        "Cookie": "a=b", "X-Jarvis-Timeout": "30", "X-Jarvis-Metadata": '{"user":"me"}', "X-Copy-Of-Key": ai.api_key,
    })


def stream(_, model):
    request = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "stream": True, "stream_options": {"include_usage": True}}
    chunks = list(ai.chat.completions.create(**request))
    same(chunks[-1].usage.completion_tokens, sum(bool(c.choices and c.choices[0].delta.content) for c in chunks), "usage")
    with ai.chat.completions.with_streaming_response.create(**request) as response:
        lines = [line for line in response.iter_lines() if line]
    same([lines[-1], len(lines)], ["data: [DONE]", len(chunks) + 1], "lines")


def tools(_, model):
    messages = [{"role": "user", "content": "call:weather"}]
    offered = [{"type": "function", "function": WEATHER}]
    with ai.chat.completions.stream(model=model, messages=messages, tools=offered) as events:
        message = events.get_final_completion().choices[0].message
    asked = message.tool_calls[0]
    same([asked.function.name, list(asked.function.parsed_arguments)], ["weather", ["city"]])
    messages += [message.to_dict(), {"role": "tool", "tool_call_id": asked.id, "content": "21"}]
    check(ai.chat.completions.create(model=model, messages=messages, tools=offered).choices[0].message.content, "no text after the call")


def parsed(_, model):
    messages = [{"role": "user", "content": "The weather, please."}]
    answer = ai.chat.completions.parse(model=model, messages=messages, response_format=Weather)
    check(isinstance(answer.choices[0].message.parsed, Weather), f"got {answer}")


def parsed_response(_):
    answer = ai.responses.parse(model="gpt", input="The weather, please.", text_format=Weather)
    check(isinstance(answer.output_parsed, Weather), f"got {answer}")


def parsed_recording(_, r):
    answer = ai.chat.completions.create(**r["request"])
    same(json.loads(answer.choices[0].message.content), json.loads(r["final"]["text"]))


def chats():
    for model in ("gpt", "azure-gpt", "azure-v1-gpt", "llama"):
        call(f"chat raw {model}", raw, model)
        call(f"chat headers {model}", headers, model)
        call(f"chat stream {model}", stream, model)
        call(f"chat tools {model}", tools, model)
        call(f"chat parse {model}", parsed, model)
    call("responses.parse", parsed_response)
    for r in recordings:
        if r["name"] in ("chat-json-mode", "chat-openai-agents-python"):
            call(f"parsed {r['name']}", parsed_recording, r)


def stored(_, model):
    made = ai.responses.create(model=model, input="Hello!")
    check(made.output_text and made.status == "completed", f"got {made}")
    same(ai.responses.retrieve(made.id).output_text, made.output_text)
    same([i.content[0].text for i in ai.responses.input_items.list(made.id)], ["Hello!"], "input")
    same(ai.responses.create(model=model, input="And now?", previous_response_id=made.id).previous_response_id, made.id)
    ai.responses.delete(made.id)
    check(isinstance(fails(lambda: ai.responses.retrieve(made.id)), openai.NotFoundError), "not deleted")


def background(_, model):
    made = ai.responses.create(model=model, input="Take your time.", background=True)
    check(made.status in ("queued", "in_progress"), f"got the status {made.status}")
    same(ai.responses.cancel(made.id).status, "cancelled")
    made = ai.responses.create(model=model, input="Take your time again.", background=True)
    while made.status in ("queued", "in_progress"):
        time.sleep(0.05)
        made = ai.responses.retrieve(made.id)
    check(made.output_text, f"got {made}")


def response_stream(_, model):
    events = list(ai.responses.create(model=model, input="Hello!", stream=True))
    whole = events[-1].response
    same("".join(e.delta for e in events if e.type == "response.output_text.delta"), whole.output_text)
    with ai.responses.stream(response_id=whole.id, starting_after=1) as again:
        same([e.sequence_number for e in again], [e.sequence_number for e in events[2:]], "events")


def response_tools(_, model):
    offered = [{"type": "function", **WEATHER}]
    with ai.responses.stream(model=model, input="call:weather", tools=offered) as events:
        asked = next(i for i in events.get_final_response().output if i.type == "function_call")
    same([asked.name, list(json.loads(asked.arguments))], ["weather", ["city"]])
    said = {"type": "function_call", "call_id": asked.call_id, "name": asked.name, "arguments": asked.arguments}
    answer = ai.responses.create(model=model, tools=offered, input=[
        {"role": "user", "content": "call:weather"}, said, {"type": "function_call_output", "call_id": asked.call_id, "output": "21"}])
    check(answer.output_text, "no text after the call")


def responses():
    for model in ("gpt", "azure-gpt", "azure-v1-gpt", "llama"):
        call(f"responses {model}: create, retrieve, input items, go on, delete", stored, model)
        call(f"responses {model}: in the background, cancel", background, model)
        call(f"responses {model}: stream, and stream again", response_stream, model)
        call(f"responses {model}: calls of functions", response_tools, model)


def embeddings(_, model):
    words = ["Hello!", "Good bye!"]
    numbers = ai.embeddings.create(model=model, input=words, encoding_format="float")
    packed = ai.embeddings.create(model=model, input=words)
    for one, other in zip(numbers.data, packed.data, strict=True):
        check(max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-6, "numbers and base64 differ")


def speech(_):
    request = {"model": "tts", "voice": "alloy", "input": "Hello!"}
    check(ai.audio.speech.create(**request).content == file, "the sound is not the one sent")
    with ai.audio.speech.with_streaming_response.create(**request) as response:
        check(b"".join(response.iter_bytes(4096)) == file, "the sound is not the one sent")


def transcription(_, model):
    text = ai.audio.transcriptions.create(model=model, file=upload("speech.mp3"), response_format="text")
    check(isinstance(text, str) and text.endswith("\n"), f"got {text!r}")
    more = ai.audio.transcriptions.create(model=model, file=upload("speech.mp3"), response_format="verbose_json", timestamp_granularities=["segment"])
    check(len(more.segments) == 1 and more.duration > 0, f"got {more}")


def transcription_stream(_):
    *events, end = ai.audio.transcriptions.create(model="gpt-4o-transcribe", file=upload("speech.wav"), stream=True)
    same("".join(e.delta for e in events), end.text)


def translation(_):
    check(ai.audio.translations.create(model="whisper", file=upload("speech.mp3")).text, "no text")


def images(_):
    check(len(ai.images.generate(model="gpt-image-1", prompt="A hat.", n=2).data) == 2, "not two images")
    check(ai.images.generate(prompt="A hat.").data[0].url, "no URL without a model")
    kinds = [e.type for e in ai.images.generate(model="gpt-image-1", prompt="A hat.", stream=True, partial_images=2)]
    same(kinds, ["image_generation.partial_image", "image_generation.partial_image", "image_generation.completed"])
    check(ai.images.edit(model="gpt-image-1", prompt="A hat.", image=[upload("a.png"), upload("b.png")], mask=upload("c.png")).data[0].b64_json, "no edit")
    check(ai.images.create_variation(image=upload("a.png"), response_format="b64_json").data[0].b64_json, "no variation")


def moderations(_):
    same(len(ai.moderations.create(input=["Hello!", "Good bye!"]).results), 2)


def models(_):
    names = [m.id for m in ai.models.list()]
    for r in recordings:
        check(r["model"] in names, f"{r['model']} is not listed")
    same(ai.models.retrieve("llama").id, "llama")
    check(isinstance(fails(lambda: ai.models.retrieve("no-such-model")), openai.NotFoundError), "found a model that does not exist")


client("openai")
replays()
chats()
responses()
for name in ("embedder", "azure-embedder", "llama-embedder"):
    call(f"embeddings {name}: as numbers, whichever way they travel", embeddings, name)
call("audio.speech", speech)
for name in ("whisper", "azure-whisper"):
    call(f"audio.transcriptions {name}", transcription, name)
call("audio.transcriptions stream", transcription_stream)
call("audio.translations", translation)
call("images", images)
call("moderations without a model", moderations)
call("models", models)
failures(ai)
done()
