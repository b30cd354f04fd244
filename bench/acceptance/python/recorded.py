"""What the client must make of a recorded answer, for the synchronous and the asynchronous client."""

import base64
import struct

import openai

from check import check, file, same

# The helper for streams does not know these events yet, or takes their changing ids for a failure.
UNKNOWN = ("apply-patch-tool.", "shell-container.", "shell-skills.", "shell-tool.", "client-tool-search.1")


def upload(name="recorded.bin"):
    return (name, file, "application/octet-stream")


def method(client, r):
    """The method that an application would use, and its arguments."""
    match r["endpoint"]:
        case "chat/completions":
            return client.chat.completions.create, r["request"]
        case "completions":
            return client.completions.create, r["request"]
        case "embeddings":
            return client.embeddings.create, r["request"]
        case "responses":
            return client.responses.create, r["request"]
        case "images/generations":
            return client.images.generate, r["request"]
        case "images/edits":
            return client.images.edit, {"model": r["model"], "prompt": "A hat.", "image": [upload(), upload()]}
        case "audio/transcriptions":
            return client.audio.transcriptions.create, {"model": r["model"], "file": upload()}
        case "audio/translations":
            return client.audio.translations.create, {"model": r["model"], "file": upload()}
    raise AssertionError(f"no way to call {r['endpoint']}")


def fault(r):
    """Whether the answer is an error, at once or inside the stream."""
    return r["status"] >= 400 or r["stream"] and any(e.get("type") == "error" for e in r["events"])


def compare(answer, r):
    same(answer.to_dict(mode="json"), r["body"])


def compare_events(events, r):
    same([e.to_dict(mode="json") for e in events], r["events"], "events")


def compare_error(e, r):
    """The provider's complaint as it was, except that a limit of the gateway's account is not the caller's."""
    check(isinstance(e, openai.APIStatusError), f"got {e!r}, want an APIStatusError")
    if r["status"] == 429 or r["stream"]:
        return same([e.status_code, e.code], [429, "upstream_rate_limited"])
    want = r["body"]["error"]
    same(e.body, want)
    same([e.status_code, e.code, e.param, e.type], [r["status"], want["code"], want["param"], want["type"]])


def helped(r):
    """Whether the helper for streams of the endpoint can read the recording."""
    if not r["stream"] or not r["coherent"] or fault(r):
        return False
    return r["endpoint"] == "chat/completions" or r["endpoint"] == "responses" and not any(part in r["name"] for part in UNKNOWN)


def usage_at_end(r):
    options = r["request"].get("stream_options") or {}
    return options.get("include_usage") and r["events"][-1].get("choices") == []


def compare_chat(completion, r):
    """The completion that the client put together from a stream. One cut by its length comes as an error that has it."""
    if r["final"]["finish"] == "length":
        check(isinstance(completion, openai.LengthFinishReasonError), f"got {completion!r}, want LengthFinishReasonError")
        completion = completion.completion
    want, first = r["final"], completion.choices[0]
    same([completion.id, completion.model, first.finish_reason], [want["id"], want["model"], want["finish"]], "id, model, finish")
    same([c.message.content or "" for c in completion.choices], want["choices"], "texts")
    same(first.message.refusal or "", want["refusal"], "refusal")
    calls = [{"id": c.id, "name": c.function.name, "arguments": c.function.arguments} for c in first.message.tool_calls or []]
    same(calls, want["calls"], "calls")
    if want["usage"]:
        same([completion.usage.prompt_tokens, completion.usage.completion_tokens], [want["usage"]["input"], want["usage"]["output"]], "usage")


def compare_response(got, r):
    want = r["final"]
    same([got.id, got.status, got.output_text], [want["id"], want["finish"], want["text"]], "id, status, text")
    same(got.usage.to_dict(mode="json"), want["response"]["usage"], "usage")
    calls = [{"id": c.call_id, "name": c.name, "arguments": c.arguments} for c in got.output if c.type == "function_call"]
    same(calls, want["calls"], "calls")


def without_stream(r):
    return {key: value for key, value in r["request"].items() if key != "stream"}


def floats(packed):
    raw = base64.b64decode(packed)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))
