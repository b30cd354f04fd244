"""The official client for Python with asyncio: all recordings at the same time, streams left in the middle, time-outs."""

import asyncio

import openai

from check import acall, check, client, done, file, now, recordings, same
from errors import ask
from recorded import compare, compare_chat, compare_error, compare_events, compare_response, fault, helped, method, upload, without_stream

ai = openai.AsyncOpenAI()


async def failing(made):
    try:
        await made
    except (Exception, asyncio.CancelledError) as e:
        return e
    raise AssertionError("got an answer, want an error")


async def replay(_, r):
    create, request = method(ai, r)
    if fault(r):
        create, request = method(ai.with_options(max_retries=0), r)
        return compare_error(await failing(create(**request)), r)
    answer = await create(**request)
    if r["stream"]:
        return compare_events([e async for e in answer], r)
    compare(answer, r)


async def chat_helper(_, r):
    async with ai.chat.completions.stream(**without_stream(r)) as stream:
        try:
            compare_chat(await stream.get_final_completion(), r)
        except openai.LengthFinishReasonError as e:
            compare_chat(e, r)


async def response_helper(_, r):
    async with ai.responses.stream(**without_stream(r)) as stream:
        compare_response(await stream.get_final_response(), r)


async def retried(upstream):
    upstream.append({"id": "limited", "requests": 2, "gap": 1000})
    answer = await ai.chat.completions.create(**ask("id=limited&status=429&retry_after_ms=1000&times=1"))
    same(answer.choices[0].message.content, "It works now.")


async def cancelled(upstream):
    task = asyncio.create_task(ai.chat.completions.create(**ask("id=cancel&delay_ms=40000")))
    await asyncio.sleep(0.5)
    task.cancel()
    check(isinstance(await failing(task), asyncio.CancelledError), "not cancelled")
    upstream.append({"id": "cancel", "requests": 1, "left": now()})


async def closed(upstream):
    stream = await ai.chat.completions.create(**ask("id=close&event_delay_ms=20&tokens=2000", stream=True))
    await anext(stream)
    await stream.close()
    upstream.append({"id": "close", "requests": 1, "left": now()})


async def timeout(upstream):
    e = await failing(ai.with_options(timeout=0.3, max_retries=0).chat.completions.create(**ask("id=timeout&delay_ms=40000")))
    upstream.append({"id": "timeout", "requests": 1, "left": now()})
    check(isinstance(e, openai.APITimeoutError), f"got {e!r}, want APITimeoutError")


async def audio(_):
    speech = await ai.audio.speech.create(model="tts", voice="alloy", input="Hello!")
    check(await speech.aread() == file, "the sound is not the one sent")
    check((await ai.audio.transcriptions.create(model="whisper", file=upload("speech.mp3"))).text, "no text")


async def models(_):
    names = [m.id async for m in ai.models.list()]
    check("gpt" in names, f"got {names}")


async def main():
    client("openai")
    calls = [acall(f"replay {r['name']}", replay, r) for r in recordings]
    for r in recordings:
        if helped(r) and r["endpoint"] == "responses":
            calls.append(acall(f"responses.stream {r['name']}", response_helper, r))
        elif helped(r):
            calls.append(acall(f"chat.completions.stream {r['name']}", chat_helper, r))
    await asyncio.gather(*calls)
    await asyncio.gather(
        acall("429 with Retry-After, then success", retried), acall("cancel a request", cancelled), acall("close a stream", closed),
        acall("time-out", timeout), acall("audio", audio), acall("models.list", models))
    done()


asyncio.run(main())
