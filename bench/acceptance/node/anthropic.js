// Anthropic's official client for JavaScript, against models of every kind of provider, with nothing set but the base URL
// and the key, which it takes from the environment.
import Anthropic from '@anthropic-ai/sdk'
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod'
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod'
import { z } from 'zod'
import { failures } from './anthropic_errors.js'
import { call, check, client, collect, done, fails, png, recordings, same, script, told } from './check.js'

const anthropic = new Anthropic()
const claudes = ['claude-sonnet-4-5', 'anthropic.claude-sonnet-4-5'] // by Anthropic, by Bedrock
const models = ['gpt', 'azure-gpt', 'azure-v1-gpt', 'llama', 'amazon.nova-pro', ...claudes]

async function each(model) {
  await answers(model)
  await tools(model)
  await contents(model)
  await limits(model)
  await counts(model)
}

function ask(model, content, more) {
  return { model, max_tokens: 4000, messages: [{ role: 'user', content }], ...more }
}

const text = (message) => message.content.filter((b) => b.type === 'text').map((b) => b.text).join('')
const kinds = (message) => message.content.map((b) => b.type)

// streamed is the answer in a stream, once its events are found to be in order.
async function streamed(request) {
  const events = []
  const stream = anthropic.messages.stream(request).on('streamEvent', (event) => events.push(event))
  const whole = await stream.finalMessage()
  const types = events.map((e) => e.type).filter((type) => type !== 'ping')
  same([types[0], ...types.slice(-2)], ['message_start', 'message_delta', 'message_stop'], 'first and last events')
  let open = -1
  let next = 0
  for (const event of events) {
    if (event.type === 'content_block_start') {
      same([open, event.index], [-1, next], 'blocks')
      open = next++
    } else if (event.type === 'content_block_delta') {
      same(event.index, open, 'block of a delta')
    } else if (event.type === 'content_block_stop') {
      same(event.index, open, 'block that ends')
      open = -1
    }
  }
  same(next, whole.content.length, 'blocks')
  return whole
}

const create = (request) => anthropic.messages.create(request)
const ways = [['', create], [' stream', streamed]]

async function answers(model) {
  await call(`messages ${model}`, async () => {
    const { data, response, request_id } = await anthropic.messages.create(ask(model, 'Hello!')).withResponse()
    same([data.type, data.role, kinds(data), data.stop_reason, data.stop_sequence], ['message', 'assistant', ['text'], 'end_turn', null])
    check(data.id && data.model === `${model}-2026-01-01` && text(data), `got ${JSON.stringify(data)}`)
    check(data.usage.input_tokens > 0 && data.usage.output_tokens > 0, `got the usage ${JSON.stringify(data.usage)}`)
    check(request_id && request_id === response.headers.get('request-id') && data._request_id === request_id, 'request id')
    same(response.headers.get('x-jarvis-model'), `${model}-2026-01-01`, 'x-jarvis-model')
  })
  await call(`messages stream ${model}`, async () => {
    const whole = await create(ask(model, 'Hello!'))
    const sum = (m) => [kinds(m), text(m), m.stop_reason, m.model, m.usage.input_tokens, m.usage.output_tokens]
    same(sum(await streamed(ask(model, 'Hello!'))), sum(whole))
    const events = await collect(await anthropic.messages.create({ ...ask(model, 'Hello!'), stream: true }))
    same(events.map((e) => e.delta?.text ?? '').join(''), text(whole), 'deltas')
  })
  await call(`messages.parse ${model}`, async () => {
    const Weather = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() })
    const request = ask(model, 'The weather, please.', { output_config: { format: zodOutputFormat(Weather) } })
    const answer = await anthropic.messages.parse(request)
    same([typeof answer.parsed_output?.degrees, answer.stop_reason], ['number', 'end_turn'])
    same((await anthropic.messages.stream(request).finalMessage()).parsed_output, answer.parsed_output, 'streamed')
  })
}

const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const offered = ['weather', 'time'].map((name) => ({ name, description: `Tells the ${name}.`, input_schema: parameters }))
const called = (message) => message.content.filter((b) => b.type === 'tool_use')
const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: png } }

async function tools(model) {
  for (const [way, send] of ways) {
    await call(`messages tools${way} ${model}`, async () => {
      const request = ask(model, 'call:weather,time', { tools: offered })
      const asked = await send(request)
      same([asked.stop_reason, called(asked).map((c) => [c.name, typeof c.input.city])], ['tool_use', [['weather', 'string'], ['time', 'string']]])
      const results = [
        { type: 'tool_result', tool_use_id: called(asked)[0].id, content: [{ type: 'text', text: '21' }, image] },
        { type: 'tool_result', tool_use_id: called(asked)[1].id, content: 'The clock is broken.', is_error: true },
      ]
      request.messages.push({ role: 'assistant', content: asked.content }, { role: 'user', content: [...results, { type: 'text', text: 'Well?' }] })
      const answer = await send(request)
      check(answer.stop_reason === 'end_turn' && text(answer), `got ${JSON.stringify(answer)}`)
    })
  }
  await call(`messages tool_choice ${model}`, async () => {
    const chosen = async (tool_choice) => called(await create(ask(model, 'Hello!', { tools: offered, tool_choice }))).map((c) => c.name)
    same(await chosen({ type: 'none' }), [], 'none')
    same(await chosen({ type: 'tool', name: 'time' }), ['time'], 'tool')
    if (!model.startsWith('amazon.')) same(await chosen({ type: 'any', disable_parallel_tool_use: true }), ['weather'], 'one')
    same(await chosen({ type: 'any' }), ['weather', 'time'], 'any')
  })
  for (const [way, more] of [['', {}], [' stream', { stream: true }], [' without a thread', { thread: false }]]) {
    await call(`beta.messages.toolRunner${way} ${model}`, async () => {
      const asked = []
      const run = (name) => async ({ city }) => { asked.push([name, typeof city]); return '21' }
      const runnable = ['weather', 'time'].map((name) => betaZodTool({ name, description: name, inputSchema: z.object({ city: z.string() }), run: run(name) }))
      const answer = await anthropic.beta.messages.toolRunner({ ...ask(model, 'call:weather,time'), tools: runnable, ...more })
      same(asked.sort(), [['time', 'string'], ['weather', 'string']])
      check(text(answer), 'no text after the calls')
    })
  }
}

// sees is what the provider must be sent, by the path in its own dialect.
function sees(model, { chat, claude, converse }) {
  if (model === claudes[0]) return claude
  return model.includes('.') ? converse : chat
}

async function contents(model) {
  const pdf = Buffer.from('%PDF-1.4 not much of a document').toString('base64')
  const document = { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: pdf } }
  await call(`messages image ${model}`, async (upstream) => {
    const id = `image-${model}`
    await create(ask(model, [{ type: 'text', text: script({ id }) }, image]))
    upstream.push({ id, requests: 1, body: sees(model, {
      chat: { 'messages.0.content.1.image_url.url': `data:image/png;base64,${png}` },
      claude: { 'messages.0.content.1.source.data': png },
      converse: { 'messages.0.content.1.image': { format: 'png', source: { bytes: png } } },
    }) })
  })
  await call(`messages document ${model}`, async (upstream) => {
    const id = `pdf-${model}`
    const request = ask(model, [{ type: 'text', text: script({ id }) }, document])
    if (model === 'llama') { // no such server takes files
      const e = await fails(() => create(request))
      check(e instanceof Anthropic.BadRequestError && e.message.includes('messages[0].content[1]'), `got ${e.stack}`)
      return
    }
    await create(request)
    upstream.push({ id, requests: 1, body: sees(model, {
      chat: { 'messages.0.content.1.file.file_data': `data:application/pdf;base64,${pdf}` },
      claude: { 'messages.0.content.1.source.data': pdf },
      converse: { 'messages.0.content.1.document.format': 'pdf', 'messages.0.content.1.document.source.bytes': pdf },
    }) })
  })
  await call(`messages document of text ${model}`, async () => {
    const source = { type: 'text', media_type: 'text/plain', data: 'The sky is blue.' }
    check(text(await create(ask(model, [{ type: 'document', source, title: 'The sky (1)' }, { type: 'text', text: 'Is it?' }]))), 'no text')
  })
  await call(`messages system, cache_control ${model}`, async (upstream) => {
    const id = `system-${model}`
    const system = [{ type: 'text', text: 'Be brief.' }, { type: 'text', text: 'Be kind.', cache_control: { type: 'ephemeral' } }]
    const { data, response } = await anthropic.messages.create(ask(model, script({ id, cached: 5, written: 3 }), { system })).withResponse()
    const chat = !model.includes('.') && model !== claudes[0]
    same([data.usage.cache_read_input_tokens, data.usage.cache_creation_input_tokens ?? 0], [5, chat ? 0 : 3], 'usage')
    if (chat) same(response.headers.get('x-jarvis-warning'), 'dropped: system[1].cache_control', 'warning')
    upstream.push({ id, requests: 1, body: sees(model, {
      chat: { 'messages.0.content': 'Be brief.\n\nBe kind.' },
      claude: { system },
      converse: { system: [{ text: 'Be brief.' }, { text: 'Be kind.' }, { cachePoint: { type: 'default' } }] },
    }) })
  })
}

async function limits(model) {
  await call(`messages temperature ${model}`, async (upstream) => {
    const id = `temperature-${model}`
    const older = { headers: { 'anthropic-version': '2023-06-01' } } // the newest version of the API has none
    await anthropic.messages.create(ask(model, script({ id }), { temperature: 0.5 }), older)
    upstream.push({ id, requests: 1, body: sees(model, { chat: { temperature: 0.5 }, claude: { temperature: 0.5 }, converse: { 'inferenceConfig.temperature': 0.5 } }) })
  })
  for (const [way, send] of ways) {
    await call(`messages stop_sequences${way} ${model}`, async (upstream) => {
      const id = `stop${way.trim()}-${model}`
      const answer = await send(ask(model, script({ id, text: 'One STOP two' }), { stop_sequences: ['STOP'] }))
      if (model.includes('claude')) same([answer.stop_reason, answer.stop_sequence, text(answer)], ['stop_sequence', 'STOP', 'One '])
      upstream.push({ id, requests: 1, body: sees(model, {
        chat: { stop: ['STOP'] }, claude: { stop_sequences: ['STOP'] }, converse: { 'inferenceConfig.stopSequences': ['STOP'] },
      }) })
    })
    await call(`messages max_tokens${way} ${model}`, async () => {
      const answer = await send(ask(model, 'Hello!', { max_tokens: 3 }))
      same([answer.stop_reason, answer.usage.output_tokens], ['max_tokens', 3])
    })
  }
}

async function counts(model) {
  await call(`messages.countTokens ${model}`, async () => {
    const { max_tokens, ...request } = ask(model, 'How many tokens are these?', { system: 'Count.', tools: offered })
    const { input_tokens } = await anthropic.messages.countTokens(request)
    check(input_tokens > 10, `counted ${input_tokens}`)
    if (claudes.includes(model)) same(input_tokens, (await create({ ...request, max_tokens })).usage.input_tokens)
  })
}

// thoughts of Claude go back with their signatures, which the simulation checks.
async function thoughts(model) {
  const thinking = { type: 'enabled', budget_tokens: 2048 }
  for (const [way, send] of ways) {
    await call(`messages thinking${way} ${model}`, async () => {
      const first = await send(ask(model, 'Hello!', { thinking }))
      same(kinds(first), ['thinking', 'text'])
      check(first.content[0].thinking && first.content[0].signature, `got ${JSON.stringify(first)}`)
      const messages = [{ role: 'user', content: 'Hello!' }, { role: 'assistant', content: first.content }, { role: 'user', content: 'And now?' }]
      same(kinds(await send(ask(model, '', { thinking, messages }))), ['thinking', 'text'])
      first.content[0].thinking += ' Or not.'
      const e = await fails(() => send(ask(model, '', { thinking, messages })))
      check(e instanceof Anthropic.BadRequestError && e.message.includes('signature'), `got ${e.stack}`)
    })
    await call(`messages thinking and tools${way} ${model}`, async () => {
      const request = ask(model, 'call:weather', { thinking, tools: offered })
      const asked = await send(request)
      same(kinds(asked), ['thinking', 'tool_use'])
      const results = [{ type: 'tool_result', tool_use_id: called(asked)[0].id, content: '21' }]
      request.messages.push({ role: 'assistant', content: asked.content }, { role: 'user', content: results })
      same(kinds(await send(request)), ['thinking', 'text'])
    })
  }
  await call(`messages redacted thinking ${model}`, async (upstream) => {
    const id = `redacted-${model}`
    const redacted = { type: 'redacted_thinking', data: 'aGlkZGVu' }
    const messages = [{ role: 'user', content: script({ id }) }, { role: 'assistant', content: [redacted, { type: 'text', text: 'Yes.' }] }, { role: 'user', content: 'Why?' }]
    check(text(await create(ask(model, '', { thinking, messages }))), 'no text')
    upstream.push({ id, requests: 1, body: sees(model, {
      claude: { 'messages.1.content.0': redacted },
      converse: { 'messages.1.content.0': { reasoningContent: { redactedContent: redacted.data } } },
    }) })
  })
}

async function adaptive() {
  for (const model of ['claude-opus-4-7', 'anthropic.claude-opus-4-7']) {
    await call(`messages adaptive thinking ${model}`, async (upstream) => {
      const id = `adaptive-${model}`
      const more = { thinking: { type: 'adaptive', display: 'summarized' }, output_config: { effort: 'high' } }
      same(kinds(await create(ask(model, script({ id }), more))), ['thinking', 'text'])
      upstream.push({ id, requests: 1, body: sees(model === 'claude-opus-4-7' ? claudes[0] : model, {
        claude: more,
        converse: { 'additionalModelRequestFields.thinking': more.thinking, 'additionalModelRequestFields.output_config': more.output_config },
      }) })
    })
  }
}

// others think in their own ways: open models show thoughts that nobody signed, OpenAI's hide them.
async function others() {
  const thinking = { type: 'enabled', budget_tokens: 2048 }
  for (const [way, send] of ways) {
    await call(`messages thinking${way} llama`, async (upstream) => {
      const id = `thoughts${way.trim()}`
      const request = ask('llama', script({ id, thinking: 'Let me see.', text: 'Yes.' }), { thinking })
      const first = await send(request)
      same(first.content.map((b) => [b.type, b.thinking ?? b.text]), [['thinking', 'Let me see.'], ['text', 'Yes.']])
      check(first.content[0].signature, 'no signature, which clients expect')
      request.messages.push({ role: 'assistant', content: first.content }, { role: 'user', content: 'Sure?' })
      await send(request)
      upstream.push({ id, requests: 2, body: { 'messages.1.reasoning_content': 'Let me see.', 'messages.1.content': 'Yes.' } })
      // The same conversation goes on with Claude, who knows nothing of such thoughts.
      for (const model of claudes) same(kinds(await send({ ...request, model, messages: [{ role: 'user', content: 'Hello!' }, ...request.messages.slice(1)] })), ['thinking', 'text'])
    })
  }
  await call('messages thinking gpt', async () => {
    const { data, response } = await anthropic.messages.create(ask('gpt', 'Hello!', { thinking })).withResponse()
    same([kinds(data), response.headers.get('x-jarvis-warning')], [['text'], 'dropped: thinking'])
  })
  await call('messages tools of Anthropic\'s own', async () => {
    const own = [{ type: 'web_search_20250305', name: 'web_search' }]
    for (const model of ['gpt', 'llama', claudes[1]]) {
      const e = await fails(() => create(ask(model, 'Hello!', { tools: own })))
      check(e instanceof Anthropic.BadRequestError && e.message.includes('tools[0]'), `${model}: got ${e.stack}`)
    }
    check(text(await create(ask(claudes[0], 'Hello!', { tools: own }))), 'no text')
  })
}

// agents asks as coding agents do: with everything at once, of every model.
async function agents() {
  const cache_control = { type: 'ephemeral', ttl: '1h' }
  const request = {
    max_tokens: 32000, thinking: { type: 'enabled', budget_tokens: 31999 }, output_config: { effort: 'medium' },
    system: [{ type: 'text', text: 'You are a coding agent.' }, { type: 'text', text: 'Be brief.', cache_control }],
    metadata: { user_id: JSON.stringify({ device_id: 'f'.repeat(64), account_uuid: '', session_id: '0d3b2a4e-6c1f-4e0a-9d4c-1b2c3d4e5f60' }) },
    context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] },
    tools: offered.map((tool, i) => ({ ...tool, eager_input_streaming: true, ...(i ? { cache_control } : {}) })),
    betas: ['claude-code-20250219', 'interleaved-thinking-2025-05-14', 'context-management-2025-06-27', 'prompt-caching-scope-2026-01-05', 'effort-2025-11-24'],
  }
  for (const model of models) {
    await call(`as coding agents ask ${model}`, async () => {
      const messages = [{ role: 'user', content: [{ type: 'text', text: '<system-reminder>None.</system-reminder>' }, { type: 'text', text: 'call:weather', cache_control }] }]
      const asked = await anthropic.beta.messages.stream({ ...request, model, messages }).finalMessage()
      const results = called(asked).map((c) => ({ type: 'tool_result', tool_use_id: c.id, content: [{ type: 'text', text: '21' }], cache_control }))
      messages.push({ role: 'assistant', content: asked.content }, { role: 'user', content: results })
      const answer = await anthropic.beta.messages.stream({ ...request, model, messages }).finalMessage()
      same([asked.stop_reason, results.length, answer.stop_reason, !!text(answer)], ['tool_use', 1, 'end_turn', true])
    })
  }
}

async function betas() {
  const wanted = ['context-1m-2025-08-07', 'interleaved-thinking-2025-05-14']
  for (const model of models) {
    await call(`beta.messages with betas ${model}`, async (upstream) => {
      const id = `betas-${model}`
      check(text(await anthropic.beta.messages.create({ ...ask(model, script({ id })), betas: wanted })), 'no text')
      upstream.push({ id, requests: 1, header: { 'anthropic-beta': model === claudes[0] ? wanted.join(',') : '', 'anthropic-version': model === claudes[0] ? '2026-10-21' : '' } })
    })
  }
}

async function listed() {
  await call('models.list', async () => {
    const all = await collect(anthropic.models.list())
    for (const name of models) check(all.some((m) => m.id === name && m.type === 'model' && m.created_at && m.display_name), `${name} is not listed`)
  })
  await call('models.retrieve', async () => {
    same((await anthropic.models.retrieve('gpt')).id, 'gpt')
    const e = await fails(() => anthropic.models.retrieve('no-such-model'))
    same([e.constructor.name, e.error.error.type], ['NotFoundError', 'not_found_error'])
  })
}

// replay asks for what was recorded: Anthropic's own answers must come as they are, Bedrock's as Anthropic would have told it.
async function replay(r) {
  await call(`replay ${r.name}`, async () => {
    const request = ask(r.model, 'Please say what was recorded.')
    const message = await (r.stream ? anthropic.messages.stream(request).finalMessage() : create(request))
    const calls = called(message).map((c) => [c.id, c.name, c.input])
    const thinking = message.content.map((b) => b.thinking ?? '').join('')
    const want = r.told
    same([text(message), thinking, calls, message.stop_reason], [want.text, want.thinking, want.calls.map((c) => [c.id, c.name, JSON.parse(c.arguments || '{}')]), want.finish])
    const { input_tokens, cache_read_input_tokens: cached, cache_creation_input_tokens: written, output_tokens } = message.usage
    same([input_tokens + (cached ?? 0) + (written ?? 0), cached ?? 0, written ?? 0, output_tokens], [want.input, want.cached, want.written, want.output], 'usage')
    if (!r.name.startsWith('amazon-')) {
      if (r.stream) same(await collect(await anthropic.messages.create({ ...request, stream: true })), r.events.filter((e) => e.type !== 'ping'), 'events')
      else same((({ _request_id, ...body }) => body)(message), r.body, 'message')
    }
  })
}

const reasons = { stop: 'end_turn', length: 'max_tokens', tool_calls: 'tool_use', content_filter: 'refusal' }

// replayChat asks for what was recorded of chat completions.
async function replayChat(r) {
  if (r.endpoint !== 'chat/completions' || !r.plain || r.status >= 400) return
  await call(`replay ${r.name}`, async () => {
    const request = ask(r.model, 'Please say what was recorded.')
    const message = await (r.stream ? anthropic.messages.stream(request).finalMessage() : create(request))
    const want = r.final
    same([text(message), called(message).map((c) => [c.id, c.name, c.input])], [want.text || want.refusal, want.calls.map((c) => [c.id, c.name, JSON.parse(c.arguments || '{}')])])
    same([message.stop_reason, message.model], [want.refusal ? 'refusal' : reasons[want.finish], want.model], 'finish, model')
    const { input_tokens, cache_read_input_tokens: cached, output_tokens } = message.usage
    if (want.usage) same([input_tokens + (cached ?? 0), cached ?? 0, output_tokens], [want.usage.input, want.usage.cached, want.usage.output], 'usage')
  })
}

client('@anthropic-ai/sdk')
await Promise.all(models.map(each))
await Promise.all(claudes.map(thoughts))
await Promise.all([adaptive(), others(), agents(), betas(), listed()])
await Promise.all([...told.map(replay), ...recordings.map(replayChat)])
await failures(anthropic)
done()
