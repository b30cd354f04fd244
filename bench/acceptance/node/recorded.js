// Replays: what the client makes of a recorded answer must be what was recorded.
import { APIError, toFile } from 'openai'
import { call, check, collect, fails, file, recordings, same } from './check.js'

export async function replay(openai) {
  for (const r of recordings) await call(`replay ${r.name}`, () => replayOne(openai, r))
  for (const r of recordings) {
    if (!r.stream || r.status >= 400 || fault(r)) continue
    if (r.endpoint === 'chat/completions') {
      await call(`chat.completions.stream ${r.name}`, () => chatHelper(openai, r))
      if (usageAtEnd(r)) await call(`unasked usage ${r.name}`, () => withoutUsage(openai, r))
    }
    if (r.endpoint === 'responses' && r.coherent && !unknown.test(r.name)) await call(`responses.stream ${r.name}`, () => responseHelper(openai, r))
  }
  for (const r of recordings) {
    if (r.request?.encoding_format === 'base64' && r.status === 200) await call(`decoded ${r.name}`, () => decoded(openai, r))
  }
}

// send makes the recorded request with the method that an application would use.
export async function send(openai, r, options) {
  const upload = () => toFile(file, 'recorded.bin', { type: 'application/octet-stream' })
  switch (r.endpoint) {
    case 'chat/completions': return openai.chat.completions.create(r.request, options)
    case 'completions': return openai.completions.create(r.request, options)
    case 'embeddings': return openai.embeddings.create(r.request, options)
    case 'responses': return openai.responses.create(r.request, options)
    case 'images/generations': return openai.images.generate(r.request, options)
    case 'images/edits': return openai.images.edit({ model: r.model, prompt: 'A hat.', image: [await upload(), await upload()] }, options)
    case 'audio/transcriptions': return openai.audio.transcriptions.create({ model: r.model, file: await upload() }, options)
    case 'audio/translations': return openai.audio.translations.create({ model: r.model, file: await upload() }, options)
  }
  throw new Error(`no way to call ${r.endpoint}`)
}

async function replayOne(openai, r) {
  if (r.status >= 400 || fault(r)) return replayError(openai, r)
  const answer = await send(openai, r)
  if (r.stream) return same(await collect(answer), r.events, 'events')
  if (!('output_text' in r.body)) delete answer.output_text // the client's own addition
  same(answer, r.body)
}

// fault is the error that a stream told of, if it did.
const fault = (r) => r.stream && r.events.find((e) => e.type === 'error')?.error

// replayError wants the provider's complaint as it was, except that a limit of the gateway's account is not the caller's.
async function replayError(openai, r) {
  const e = await fails(async () => {
    const answer = await send(openai, r, { maxRetries: 0 })
    if (r.stream) await collect(answer)
  })
  check(e instanceof APIError, `got ${e.stack}, want an APIError`)
  if (r.status === 429 || fault(r)) return same([e.status, e.code], [429, 'upstream_rate_limited'])
  same(e.error, r.body.error)
  same([e.status, e.code, e.param, e.type], [r.status, r.body.error.code, r.body.error.param, r.body.error.type])
}

const usageAtEnd = (r) => r.request.stream_options?.include_usage && r.events.at(-1).choices?.length === 0

// withoutUsage asks for no usage: then the event that the gateway asked for must not come.
async function withoutUsage(openai, r) {
  const { stream_options, ...request } = r.request
  same(await collect(await openai.chat.completions.create(request)), r.events.slice(0, -1), 'events')
}

async function chatHelper(openai, r) {
  const { stream, ...request } = r.request
  const runner = openai.chat.completions.stream(request)
  let text = ''
  runner.on('content.delta', ({ delta }) => { text += delta })
  const completion = await runner.finalChatCompletion()
  const { message, finish_reason } = completion.choices[0]
  const want = r.final
  same([completion.id, completion.model, finish_reason], [want.id, want.model, want.finish], 'id, model, finish')
  same(completion.choices.map((c) => c.message.content ?? ''), want.choices, 'texts')
  same(message.refusal ?? '', want.refusal, 'refusal')
  same((message.tool_calls ?? []).map((c) => ({ id: c.id, ...plainCall(c.function) })), want.calls, 'calls')
  if (want.choices.length === 1) same(text, want.text, 'deltas')
  if (want.usage) same([completion.usage.prompt_tokens, completion.usage.completion_tokens], [want.usage.input, want.usage.output], 'usage')
}

const plainCall = ({ name, arguments: args }) => ({ name, arguments: args })

// unknown are streams with events that the helper does not know yet, which it takes for a failure.
const unknown = /apply-patch-tool\.|shell-(container|skills|tool)\./

async function responseHelper(openai, r) {
  const { stream, ...request } = r.request
  const got = await openai.responses.stream(request).finalResponse()
  same([got.id, got.status, got.output_text], [r.final.id, r.final.finish, r.final.text], 'id, status, text')
  same(got.usage, r.final.response.usage, 'usage')
  const calls = got.output.filter((item) => item.type === 'function_call')
  same(calls.map((c) => ({ id: c.call_id, ...plainCall(c) })), r.final.calls, 'calls')
}

// decoded leaves the format to the client, which asks for base64 and gives numbers.
async function decoded(openai, r) {
  const { encoding_format, ...request } = r.request
  const answer = await openai.embeddings.create(request)
  same(answer.data.map((d) => d.embedding), r.body.data.map((d) => floats(d.embedding)), 'embeddings')
  same(answer.usage, r.body.usage, 'usage')
}

function floats(base64) {
  const bytes = Buffer.from(base64, 'base64')
  return Array.from(new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)))
}
