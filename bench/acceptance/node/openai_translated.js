// The official client for JavaScript against models whose providers speak other dialects: Claude by Anthropic and by Bedrock,
// another model of Bedrock's, and, for the Responses API, a server that has chat completions only.
import OpenAI from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import { z } from 'zod'
import { call, check, client, collect, done, fails, png, same, script, told } from './check.js'
import { responses } from './openai_translated_responses.js'

const openai = new OpenAI()
const claudes = ['claude-sonnet-4-5', 'anthropic.claude-sonnet-4-5']
const models = [...claudes, 'amazon.nova-pro']
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false }
const functions = ['weather', 'time'].map((name) => ({ type: 'function', function: { name, description: `Tells the ${name}.`, parameters } }))

const ask = (model, content, more) => ({ model, messages: [{ role: 'user', content }], ...more })
const create = (request, options) => openai.chat.completions.create(request, options)

async function chats(model) {
  await call(`chat ${model}`, async () => {
    const { data, response, request_id } = await create(ask(model, 'Hello!')).withResponse()
    same([data.object, data.model, data.choices.length, data.choices[0].finish_reason], ['chat.completion', `${model}-2026-01-01`, 1, 'stop'])
    check(data.id && data.created > 1e9 && data.choices[0].message.content, `got ${JSON.stringify(data)}`)
    check(data.usage.prompt_tokens > 0, 'no usage')
    same(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens, 'usage')
    check(request_id && request_id === response.headers.get('x-request-id'), 'request id')
    same([response.headers.get('x-jarvis-model'), response.headers.get('x-jarvis-warning')], [`${model}-2026-01-01`, null], 'headers')
  })
  await call(`chat stream ${model}`, async () => {
    const whole = await create(ask(model, 'Hello!'))
    const chunks = await collect(await create(ask(model, 'Hello!', { stream: true, stream_options: { include_usage: true } })))
    same([chunks[0].choices[0].delta.role, chunks.at(-2).choices[0].finish_reason, chunks.at(-1).choices], ['assistant', 'stop', []])
    same(chunks.map((c) => c.choices[0]?.delta.content ?? '').join(''), whole.choices[0].message.content, 'deltas')
    same(chunks.at(-1).usage.total_tokens, whole.usage.total_tokens, 'usage')
    same(new Set(chunks.map((c) => `${c.id} ${c.model} ${c.created}`)).size, 1, 'id, model, created')
    const unasked = await collect(await create(ask(model, 'Hello!', { stream: true })))
    check(unasked.every((c) => !c.usage && c.choices.length), 'usage that nobody asked for')
  })
  for (const stream of [false, true]) {
    await call(`chat runTools${stream ? ' stream' : ''} ${model}`, async () => {
      const asked = []
      const tools = functions.map(({ type, function: f }) => ({
        type, function: { ...f, parse: JSON.parse, function: (args) => { asked.push([f.name, typeof args.city]); return '{"degrees":21}' } },
      }))
      const text = await openai.chat.completions.runTools({ ...ask(model, 'call:weather,time'), stream, tools }).finalContent()
      same(asked, [['weather', 'string'], ['time', 'string']], 'calls')
      check(text, 'no text after the calls')
    })
  }
  await call(`chat tool_choice ${model}`, async () => {
    const chosen = async (tool_choice, more) => {
      const [choice] = (await create(ask(model, 'Hello!', { tools: functions, tool_choice, ...more }))).choices
      return [choice.finish_reason, ...(choice.message.tool_calls ?? []).map((c) => c.function.name)]
    }
    same(await chosen('none'), ['stop'], 'none')
    same(await chosen('required'), ['tool_calls', 'weather', 'time'], 'required')
    same(await chosen({ type: 'function', function: { name: 'time' } }), ['tool_calls', 'time'], 'named')
    if (model === claudes[0]) same(await chosen('required', { parallel_tool_calls: false }), ['tool_calls', 'weather'], 'one')
  })
  await call(`chat.completions.parse ${model}`, async () => {
    const Weather = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() })
    const request = ask(model, 'The weather, please.', { response_format: zodResponseFormat(Weather, 'weather') })
    const [choice] = (await openai.chat.completions.parse(request)).choices
    same([typeof choice.message.parsed?.degrees, choice.finish_reason], ['number', 'stop'])
    const streamed = await openai.chat.completions.stream(request).finalChatCompletion()
    same(streamed.choices[0].message.parsed, choice.message.parsed, 'streamed')
  })
}

async function contents(model) {
  const own = (claude, converse) => (model === claudes[0] ? claude : converse)
  await call(`chat image ${model}`, async (upstream) => {
    const id = `image-${model}`
    await create(ask(model, [{ type: 'text', text: script({ id }) }, { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } }]))
    upstream.push({ id, requests: 1, body: own(
      { 'messages.0.content.1.source': { type: 'base64', media_type: 'image/png', data: png } },
      { 'messages.0.content.1.image': { format: 'png', source: { bytes: png } } },
    ) })
  })
  await call(`chat file ${model}`, async (upstream) => {
    const id = `file-${model}`
    const pdf = Buffer.from('%PDF-1.4 not much of a document').toString('base64')
    await create(ask(model, [{ type: 'text', text: script({ id }) }, { type: 'file', file: { filename: 'a.pdf', file_data: `data:application/pdf;base64,${pdf}` } }]))
    upstream.push({ id, requests: 1, body: own(
      { 'messages.0.content.1.source': { type: 'base64', media_type: 'application/pdf', data: pdf } },
      { 'messages.0.content.1.document.format': 'pdf', 'messages.0.content.1.document.source.bytes': pdf },
    ) })
  })
  await call(`chat instructions, sampling ${model}`, async (upstream) => {
    const id = `instructions-${model}`
    const request = ask(model, script({ id, cached: 5 }), { temperature: 0.5, stop: 'STOP', max_completion_tokens: 100, n: 1, logprobs: false, presence_penalty: 0 })
    request.messages.unshift({ role: 'developer', content: 'Be brief.' })
    const { data, response } = await create(request).withResponse()
    same([data.usage.prompt_tokens_details.cached_tokens, response.headers.get('x-jarvis-warning')], [5, null])
    upstream.push({ id, requests: 1, body: own(
      { 'system.0.text': 'Be brief.', temperature: 0.5, stop_sequences: ['STOP'], max_tokens: 100 },
      { 'system.0.text': 'Be brief.', inferenceConfig: { temperature: 0.5, stopSequences: ['STOP'], maxTokens: 100 } },
    ) })
  })
  await call(`chat max_completion_tokens ${model}`, async () => {
    const [choice] = (await create(ask(model, 'Hello!', { max_completion_tokens: 3 }))).choices
    same([choice.finish_reason, choice.message.content.trim().split(' ').length], ['length', 3])
  })
  await call(`chat hints ${model}`, async () => {
    const { response } = await create(ask(model, 'Hello!', { store: true, prompt_cache_key: 'a' })).withResponse()
    same(response.headers.get('x-jarvis-warning'), 'dropped: store, prompt_cache_key', 'warning')
  })
}

// refusals name what the provider has no counterpart for; a lenient one leaves it out and says so.
async function refusals() {
  const unsupported = { n: 2, logprobs: true, seed: 1, logit_bias: { 50256: -100 }, frequency_penalty: 0.5 }
  for (const [name, value] of Object.entries(unsupported)) {
    for (const model of models) {
      await call(`chat ${name} ${model}`, async () => {
        const e = await fails(() => create(ask(model, 'Hello!', { [name]: value })))
        same([e.constructor.name, e.status, e.param, e.type, e.code], ['BadRequestError', 400, name, 'invalid_request_error', 'unsupported_parameter'])
      })
    }
    for (const model of ['lenient-claude-sonnet-4-5', 'lenient.claude-sonnet-4-5']) {
      await call(`chat ${name} ${model}`, async () => {
        const { data, response } = await create(ask(model, 'Hello!', { [name]: value })).withResponse()
        same([data.choices.length, response.headers.get('x-jarvis-warning')], [1, `dropped: ${name}`])
        const { response: streamed } = await create(ask(model, 'Hello!', { [name]: value, stream: true })).withResponse()
        same(streamed.headers.get('x-jarvis-warning'), `dropped: ${name}`, 'warning of a stream')
      })
    }
  }
}

// joined is a streamed message as clients put it together.
async function joined(request) {
  const message = { role: 'assistant', content: '', reasoning_content: '', reasoning_details: [], tool_calls: [] }
  for await (const { choices } of await create({ ...request, stream: true })) {
    const delta = choices[0]?.delta ?? {}
    message.content += delta.content ?? ''
    message.reasoning_content += delta.reasoning_content ?? ''
    message.reasoning_details.push(...(delta.reasoning_details ?? []))
    for (const { index, ...piece } of delta.tool_calls ?? []) {
      if (piece.id) message.tool_calls[index] = { ...piece, function: { ...piece.function } }
      else message.tool_calls[index].function.arguments += piece.function.arguments
    }
  }
  if (!message.tool_calls.length) delete message.tool_calls
  return message
}

// reasoning is shown, and proven to the provider when it comes back: the simulation checks signatures.
async function reasoning(model) {
  const whole = async (request) => (await create(request)).choices[0].message
  for (const [way, send] of [['', whole], [' stream', joined]]) {
    await call(`chat reasoning_effort${way} ${model}`, async (upstream) => {
      const id = `reasoning${way.trim()}-${model}`
      const request = ask(model, script({ id, thinking: 'Let me see.', text: 'Yes.' }), { reasoning_effort: 'low' })
      const message = await send(request)
      same([message.content, message.reasoning_content], ['Yes.', 'Let me see.'])
      check(message.reasoning_details.some((d) => d.type === 'reasoning.text' && d.signature), `got ${JSON.stringify(message)}`)
      request.messages.push(message, { role: 'user', content: 'Sure?' })
      check((await send(request)).content, 'no text')
      upstream.push({ id, requests: 2, body: model === claudes[0]
        ? { 'messages.1.content.0.thinking': 'Let me see.', 'messages.1.content.1.text': 'Yes.' }
        : { 'messages.1.content.0.reasoningContent.reasoningText.text': 'Let me see.', 'messages.1.content.1.text': 'Yes.' } })
    })
    await call(`chat reasoning_effort and tools${way} ${model}`, async () => {
      const request = ask(model, 'call:weather,time', { reasoning_effort: 'high', tools: functions })
      const message = await send(request)
      check(message.reasoning_content && message.tool_calls.length === 2, `got ${JSON.stringify(message)}`)
      request.messages.push(message, ...message.tool_calls.map((c) => ({ role: 'tool', tool_call_id: c.id, content: '21' })))
      const answer = await send(request)
      check(answer.content && answer.reasoning_content, `got ${JSON.stringify(answer)}`)
    })
  }
  await call(`chat reasoning lost on the way ${model}`, async () => {
    const request = ask(model, 'call:weather', { reasoning_effort: 'high', tools: functions })
    const { tool_calls } = await whole(request)
    request.messages.push({ role: 'assistant', tool_calls }, { role: 'tool', tool_call_id: tool_calls[0].id, content: '21' })
    const { data, response } = await create(request).withResponse()
    same([!!data.choices[0].message.content, data.choices[0].message.reasoning_content ?? '', response.headers.get('x-jarvis-warning')], [true, '', 'dropped: reasoning_effort'])
  })
}

function failures(model) {
  const chat = openai.chat.completions
  const classes = model === claudes[0] ? [
    [400, 'BadRequestError', 400, null], [401, 'InternalServerError', 502, 'upstream_auth'], [404, 'NotFoundError', 404, 'model_not_found'],
    [413, 'APIError', 413, 'request_too_large'], [429, 'RateLimitError', 429, 'upstream_rate_limited'], [500, 'InternalServerError', 502, 'upstream_error'],
    [529, 'InternalServerError', 503, 'upstream_overloaded'],
  ] : [
    [400, 'BadRequestError', 400, null], [403, 'InternalServerError', 502, 'upstream_auth'], [404, 'NotFoundError', 404, 'model_not_found'],
    [408, 'InternalServerError', 504, 'timeout'], [424, 'InternalServerError', 502, 'upstream_error'], [429, 'RateLimitError', 429, 'upstream_rate_limited'],
    [503, 'InternalServerError', 502, 'upstream_error'],
  ]
  return [
    ...classes.map(([status, ...want]) => call(`provider's ${status} ${model}`, async (upstream) => {
      upstream.push({ id: `class${status}-${model}`, requests: 1 })
      const e = await fails(() => create(ask(model, script({ id: `class${status}-${model}`, status })), { maxRetries: 0 }))
      same([e.constructor.name, e.status, e.code], want)
    })),
    call(`429 with Retry-After, then success ${model}`, async (upstream) => {
      upstream.push({ id: `limited-${model}`, requests: 2, gap: 1000 })
      const answer = await create(ask(model, script({ id: `limited-${model}`, status: 429, retry_after_ms: 1000, times: 1 })))
      same(answer.choices[0].message.content, 'It works now.')
    }),
    ...['error-mid', 'cut', 'reset-mid'].map((fault) => call(`stream with ${fault} ${model}`, async (upstream) => {
      upstream.push({ id: `${fault}-${model}`, requests: 1 })
      let text = ''
      const e = await fails(async () => {
        for await (const chunk of await create(ask(model, script({ id: `${fault}-${model}`, fault, event_delay_ms: 20 }), { stream: true }))) {
          text += chunk.choices[0]?.delta.content ?? ''
        }
      })
      same([e instanceof OpenAI.APIError, e.code, e.type, text !== ''], [true, 'upstream_error', 'server_error', true], e.stack)
    })),
    call(`abort a stream ${model}`, async (upstream) => {
      const stream = await chat.create(ask(model, script({ id: `abort-${model}`, event_delay_ms: 20, tokens: 2000 }), { stream: true }))
      let n = 0
      for await (const _ of stream) if (++n === 5) stream.controller.abort()
      upstream.push({ id: `abort-${model}`, requests: 1, left: Date.now() })
    }),
    call(`time-out ${model}`, async (upstream) => {
      const e = await fails(() => create(ask(model, script({ id: `timeout-${model}`, delay_ms: 40000 })), { timeout: 500, maxRetries: 0 }))
      upstream.push({ id: `timeout-${model}`, requests: 1, left: Date.now() })
      check(e instanceof OpenAI.APIConnectionTimeoutError, `got ${e.stack}, want APIConnectionTimeoutError`)
    }),
  ]
}

const finishes = { end_turn: 'stop', stop_sequence: 'stop', pause_turn: 'stop', max_tokens: 'length', model_context_window_exceeded: 'length', tool_use: 'tool_calls', refusal: 'content_filter' }

// replay asks for what was recorded from Anthropic and from Bedrock, and must be told the same in OpenAI's words.
async function replay(r) {
  const content = 'Please say what was recorded.'
  const want = r.told
  const calls = want.calls.map((c) => [c.id, c.name, JSON.parse(c.arguments || '{}')])
  await call(`replay chat ${r.name}`, async () => {
    const request = ask(r.model, content)
    const answer = await (r.stream ? openai.chat.completions.stream({ ...request, stream_options: { include_usage: true } }).finalChatCompletion() : create(request))
    const [{ message, finish_reason }] = answer.choices
    same([message.content ?? '', (message.tool_calls ?? []).map((c) => [c.id, c.function.name, JSON.parse(c.function.arguments)]), finish_reason], [want.text, calls, finishes[want.finish]])
    if (!r.stream) same(message.reasoning_content ?? '', want.thinking, 'thinking')
    const usage = answer.usage
    same([usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details?.cached_tokens ?? 0], want.billed, 'usage')
  })
  await call(`replay responses ${r.name}`, async () => {
    const request = { model: r.model, input: content }
    const answer = await (r.stream ? openai.responses.stream(request).finalResponse() : openai.responses.create(request))
    const made = answer.output.filter((i) => i.type === 'function_call')
    const incomplete = ['length', 'content_filter'].includes(finishes[want.finish])
    same([answer.output_text, made.map((c) => [c.call_id, c.name, JSON.parse(c.arguments)]), answer.status], [want.text, calls, incomplete ? 'incomplete' : 'completed'])
    if (want.output) same([answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.input_tokens_details.cached_tokens], want.billed, 'usage')
  })
}

client('openai')
await Promise.all(models.map(async (model) => { await chats(model); await contents(model) }))
await Promise.all([refusals(), ...claudes.map(reasoning)])
await responses(openai)
await Promise.all(told.map(replay))
await Promise.all(claudes.flatMap(failures))
done()
