// The Responses API, made by the gateway of what other dialects answer, and kept by it.
import OpenAI from 'openai'
import { zodTextFormat } from 'openai/helpers/zod'
import { z } from 'zod'
import { call, check, collect, fails, png, same, script } from './check.js'

const claudes = ['claude-sonnet-4-5', 'anthropic.claude-sonnet-4-5']
const models = [...claudes, 'amazon.nova-pro', 'chat-llama']
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false }
const tools = ['weather', 'time'].map((name) => ({ type: 'function', name, description: `Tells the ${name}.`, strict: true, parameters }))

export async function responses(openai) {
  await Promise.all(models.map(async (model) => {
    await stored(openai, model)
    await streams(openai, model)
    await calls(openai, model)
    await others(openai, model)
    await refusals(openai, model)
  }))
  await Promise.all([...claudes, 'chat-llama'].map((model) => reasoning(openai, model)))
}

async function stored(openai, model) {
  await call(`responses ${model}: create, retrieve, input items, go on, delete`, async (upstream) => {
    const id = `stored-${model}`
    const made = await openai.responses.create({ model, input: script({ id }), instructions: 'Be brief.', metadata: { who: 'me' } })
    check(made.output_text && made.status === 'completed' && made.id.startsWith('resp_'), `got ${JSON.stringify(made)}`)
    check(made.usage.input_tokens > 0 && made.usage.total_tokens === made.usage.input_tokens + made.usage.output_tokens, 'usage')
    same([made.model, made.instructions, made.metadata], [`${model}-2026-01-01`, 'Be brief.', { who: 'me' }])
    const again = await openai.responses.retrieve(made.id)
    const { output_text, _request_id, ...object } = made
    same({ ...again, output_text: undefined, _request_id: undefined }, object, 'retrieved')
    const items = await collect(openai.responses.inputItems.list(made.id))
    same(items.map((i) => [i.type, i.role, i.content[0].text]), [['message', 'user', script({ id })]], 'input')
    const next = await openai.responses.create({ model, input: 'And now?', previous_response_id: made.id })
    same(next.previous_response_id, made.id)
    const last = await openai.responses.create({ model, input: [{ role: 'user', content: 'And then?' }], previous_response_id: next.id })
    check(last.output_text, 'no text')
    upstream.push({ id, requests: 3, body: { 'messages.#': 5, ...(model === claudes[0] ? { system: undefined } : {}) } })
    await openai.responses.delete(made.id)
    const gone = await fails(() => openai.responses.retrieve(made.id))
    check(gone instanceof OpenAI.NotFoundError, `got ${gone.stack}, want NotFoundError`)
  })
  await call(`responses ${model}: not stored`, async () => {
    const made = await openai.responses.create({ model, input: 'Hello!', store: false })
    const gone = await fails(() => openai.responses.retrieve(made.id))
    check(gone instanceof OpenAI.NotFoundError, `got ${gone.stack}, want NotFoundError`)
    const e = await fails(() => openai.responses.create({ model, input: 'And now?', previous_response_id: made.id }))
    same([e.constructor.name, e.code, e.param], ['BadRequestError', 'previous_response_not_found', 'previous_response_id'])
  })
}

async function streams(openai, model) {
  await call(`responses ${model}: stream`, async () => {
    const events = await collect(await openai.responses.create({ model, input: 'Hello!', stream: true }))
    same(events.map((e) => e.sequence_number), events.map((_, i) => i), 'sequence numbers')
    const types = events.map((e) => e.type).filter((type) => type !== 'response.output_text.delta')
    same(types, ['response.created', 'response.in_progress', 'response.output_item.added', 'response.content_part.added', 'response.output_text.done',
      'response.content_part.done', 'response.output_item.done', 'response.completed'], 'events')
    const whole = events.at(-1).response
    same(events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta).join(''), whole.output[0].content[0].text)
    const plain = await openai.responses.create({ model, input: 'Hello!' })
    same([whole.output[0].content[0].text, whole.usage.total_tokens], [plain.output_text, plain.usage.total_tokens], 'streamed')
    same((await openai.responses.retrieve(whole.id)).output, whole.output, 'retrieved')
    same((await openai.responses.stream({ model, input: 'Hello!' }).finalResponse()).output_text, plain.output_text, 'responses.stream')
  })
  await call(`responses ${model}: stream that fails`, async () => {
    const events = []
    const e = await fails(async () => {
      for await (const event of await openai.responses.create({ model, input: script({ id: `failing-${model}`, fault: 'error-mid', event_delay_ms: 20 }), stream: true })) {
        events.push(event)
        if (event.type === 'response.failed' || event.type === 'error') throw new Error(event.response?.error.code ?? event.code)
      }
    })
    check(events.some((event) => event.type === 'response.output_text.delta'), `got ${JSON.stringify(events)}, ${e.stack}`)
  })
}

async function calls(openai, model) {
  const send = {
    '': (request) => openai.responses.create(request),
    ' stream': (request) => openai.responses.stream(request).finalResponse(),
  }
  for (const [way, create] of Object.entries(send)) {
    await call(`responses ${model}: calls of functions${way}`, async () => {
      const input = [{ role: 'user', content: 'call:weather,time' }]
      const asked = await create({ model, input, tools })
      const made = asked.output.filter((item) => item.type === 'function_call')
      same(made.map((c) => [c.name, Object.keys(JSON.parse(c.arguments))]), [['weather', ['city']], ['time', ['city']]])
      const results = made.map((c) => ({ type: 'function_call_output', call_id: c.call_id, output: '21' }))
      const replayed = asked.output.map(({ parsed_arguments, ...item }) => item)
      check((await create({ model, tools, input: [...input, ...replayed, ...results] })).output_text, 'no text after the calls, whole conversation')
      check((await create({ model, tools, input: results, previous_response_id: asked.id })).output_text, 'no text after the calls, previous_response_id')
    })
  }
  await call(`responses ${model}: tool_choice`, async () => {
    const chosen = async (tool_choice) => (await openai.responses.create({ model, input: 'Hello!', tools, tool_choice })).output.filter((i) => i.type === 'function_call').map((c) => c.name)
    same(await chosen('none'), [], 'none')
    same(await chosen('required'), ['weather', 'time'], 'required')
    same(await chosen({ type: 'function', name: 'time' }), ['time'], 'named')
  })
}

async function others(openai, model) {
  await call(`responses.parse ${model}`, async () => {
    const Weather = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() })
    const answer = await openai.responses.parse({ model, input: 'The weather, please.', text: { format: zodTextFormat(Weather, 'weather') } })
    same(typeof answer.output_parsed?.sunny, 'boolean')
  })
  await call(`responses ${model}: image`, async (upstream) => {
    const id = `seen-${model}`
    const content = [{ type: 'input_text', text: script({ id }) }, { type: 'input_image', image_url: `data:image/png;base64,${png}`, detail: 'auto' }]
    check((await openai.responses.create({ model, input: [{ role: 'user', content }] })).output_text, 'no text')
    const at = 'messages.0.content.1.'
    upstream.push({ id, requests: 1, body: model === claudes[0] ? { [`${at}source.data`]: png }
      : model.includes('.') ? { [`${at}image.source.bytes`]: png } : { [`${at}image_url.url`]: `data:image/png;base64,${png}` } })
  })
  await call(`responses ${model}: max_output_tokens`, async () => {
    const made = await openai.responses.create({ model, input: 'Hello!', max_output_tokens: 16, instructions: script({ id: `long-${model}`, tokens: 50 }) })
    same([made.status, made.incomplete_details?.reason, made.usage.output_tokens], ['incomplete', 'max_output_tokens', 16])
  })
}

async function refusals(openai, model) {
  const unsupported = [
    ['tools[0]', { tools: [{ type: 'web_search' }] }], ['background', { background: true }], ['top_logprobs', { top_logprobs: 2 }],
    ['include[0]', { include: ['message.output_text.logprobs'] }],
  ]
  for (const [param, more] of unsupported) {
    await call(`responses ${model}: ${param}`, async () => {
      const e = await fails(() => openai.responses.create({ model, input: 'Hello!', ...more }))
      same([e.constructor.name, e.status, e.param, e.code], ['BadRequestError', 400, param, 'unsupported_parameter'])
    })
  }
  await call(`responses ${model}: truncation`, async () => {
    const { data, response } = await openai.responses.create({ model, input: 'Hello!', truncation: 'auto' }).withResponse()
    same([data.status, response.headers.get('x-jarvis-warning')], ['completed', 'dropped: truncation'])
  })
  if (!claudes.includes(model)) return
  const lenient = model.includes('.') ? 'lenient.claude-sonnet-4-5' : 'lenient-claude-sonnet-4-5'
  await call(`responses ${lenient}: tools[0]`, async () => {
    const { data, response } = await openai.responses.create({ model: lenient, input: 'Hello!', tools: [{ type: 'web_search' }, ...tools] }).withResponse()
    same([data.status, response.headers.get('x-jarvis-warning')], ['completed', 'dropped: tools[0]'])
  })
}

// reasoning items go back as they came, or are remembered: the simulation checks what proves Claude's thoughts.
async function reasoning(openai, model) {
  const kinds = (response) => response.output.map((item) => item.type)
  const thinking = 'Let me see.'
  const request = (id, more) => ({ model, input: [{ role: 'user', content: script({ id, thinking, text: 'Yes.' }) }], reasoning: { effort: 'low', summary: 'auto' }, ...more })
  const proof = model === claudes[0] ? { 'messages.1.content.0.thinking': thinking }
    : model === claudes[1] ? { 'messages.1.content.0.reasoningContent.reasoningText.text': thinking } : { 'messages.1.reasoning_content': thinking }
  const send = {
    '': (body) => openai.responses.create(body),
    ' stream': (body) => openai.responses.stream(body).finalResponse(),
  }
  for (const [way, create] of Object.entries(send)) {
    await call(`responses ${model}: reasoning and encrypted_content${way}`, async (upstream) => {
      const id = `encrypted${way.trim()}-${model}`
      const first = await create(request(id, { store: false, include: ['reasoning.encrypted_content'] }))
      same([kinds(first), first.output[0].summary?.[0]?.text], [['reasoning', 'message'], thinking])
      if (claudes.includes(model)) check(first.output[0].encrypted_content, `got ${JSON.stringify(first.output)}`)
      const next = request(id, { store: false, include: ['reasoning.encrypted_content'] })
      next.input.push(...first.output, { role: 'user', content: 'Sure?' })
      same(kinds(await create(next)), ['reasoning', 'message'])
      upstream.push({ id, requests: 2, body: proof })
    })
    await call(`responses ${model}: reasoning and previous_response_id${way}`, async (upstream) => {
      const id = `remembered${way.trim()}-${model}`
      const first = await create(request(id))
      same(kinds(first), ['reasoning', 'message'])
      const next = await create({ model, input: 'Sure?', reasoning: { effort: 'low' }, previous_response_id: first.id })
      check(next.output_text, 'no text')
      upstream.push({ id, requests: 2, body: proof })
    })
    await call(`responses ${model}: reasoning and calls of functions${way}`, async () => {
      if (!claudes.includes(model)) return
      const asked = await create({ model, input: 'call:weather,time', tools, reasoning: { effort: 'low' } })
      same(kinds(asked), ['reasoning', 'function_call', 'function_call'])
      const results = asked.output.slice(1).map((c) => ({ type: 'function_call_output', call_id: c.call_id, output: '21' }))
      const answer = await create({ model, input: results, tools, reasoning: { effort: 'low' }, previous_response_id: asked.id })
      same(kinds(answer), ['reasoning', 'message'])
    })
  }
}
