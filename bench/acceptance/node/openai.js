// The official client for JavaScript, with nothing set but the base URL and the key, which it takes from the environment.
import OpenAI, { toFile } from 'openai'
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod'
import { z } from 'zod'
import { call, check, client, collect, done, fails, file, recordings, same } from './check.js'
import { failures } from './errors.js'
import { replay } from './recorded.js'

const openai = new OpenAI()

client('openai')
await replay(openai)
await chats()
await structured()
await responses()
await embeddings()
await others()
await models()
await failures(openai)
done()

async function chats() {
  for (const model of ['gpt', 'azure-gpt', 'azure-v1-gpt', 'llama']) {
    const request = { model, messages: [{ role: 'user', content: 'Hello!' }] }
    await call(`chat ${model}`, async () => {
      const { data, response, request_id } = await openai.chat.completions.create(request).withResponse()
      check(data.choices[0].message.content && data.choices[0].finish_reason === 'stop', `got ${JSON.stringify(data)}`)
      same(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens, 'usage')
      check(request_id && request_id === response.headers.get('x-request-id') && data._request_id === request_id, 'request id')
      same(response.headers.get('x-jarvis-model'), `${model}-2026-01-01`, 'x-jarvis-model')
    })
    await call(`chat headers ${model}`, async () => {
      const headers = { 'x-jarvis-timeout': '30', 'x-jarvis-metadata': '{"user":"me"}', cookie: 'a=b', 'x-copy-of-key': openai.apiKey }
      check((await openai.chat.completions.create(request, { headers })).id, 'no answer') // the driver looks what went on
    })
    await call(`chat stream ${model}`, async () => {
      const chunks = await collect(await openai.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } }))
      const tokens = chunks.filter((c) => c.choices[0]?.delta.content).length
      same(chunks.at(-1).usage.completion_tokens, tokens, 'usage')
    })
    await call(`chat runTools ${model}`, () => runTools(model, false))
    await call(`chat runTools stream ${model}`, () => runTools(model, true))
  }
  await call('chat fields of vLLM', async () => {
    const { choices } = await openai.chat.completions.create({
      model: 'llama', messages: [{ role: 'user', content: 'Hello!' }], top_k: 20, chat_template_kwargs: { enable_thinking: false },
    })
    check('stop_reason' in choices[0] && 'token_ids' in choices[0], `got ${JSON.stringify(choices[0])}`)
  })
}

// runTools lets the client call functions until the model is satisfied.
async function runTools(model, stream) {
  const asked = []
  const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false }
  const tool = (name) => ({
    type: 'function',
    function: { name, parameters, parse: JSON.parse, function: (args) => { asked.push([name, typeof args.city]); return '{"degrees":21}' } },
  })
  const runner = openai.chat.completions.runTools({
    model, stream, messages: [{ role: 'user', content: 'call:weather,time' }], tools: [tool('weather'), tool('time')],
  })
  const text = await runner.finalContent()
  same(asked, [['weather', 'string'], ['time', 'string']], 'calls')
  check(text, 'no text after the calls')
}

async function structured() {
  const Weather = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() })
  const messages = [{ role: 'user', content: 'The weather, please.' }]
  for (const model of ['gpt', 'azure-gpt', 'llama']) {
    await call(`chat.completions.parse ${model}`, async () => {
      const answer = await openai.chat.completions.parse({ model, messages, response_format: zodResponseFormat(Weather, 'weather') })
      same(typeof answer.choices[0].message.parsed.degrees, 'number')
    })
  }
  await call('responses.parse', async () => {
    const answer = await openai.responses.parse({ model: 'gpt', input: 'The weather, please.', text: { format: zodTextFormat(Weather, 'weather') } })
    same(typeof answer.output_parsed.sunny, 'boolean')
  })
  const plan = recordings.find((r) => r.name === 'chat-openai-agents-python')
  await call(`chat.completions.parse ${plan.name}`, async () => {
    const answer = await openai.chat.completions.parse(plan.request)
    same(answer.choices[0].message.parsed, JSON.parse(plan.final.text))
  })
}

async function responses() {
  for (const model of ['gpt', 'azure-gpt', 'azure-v1-gpt', 'llama']) {
    await call(`responses ${model}: create, retrieve, input items, go on, delete`, async () => {
      const made = await openai.responses.create({ model, input: 'Hello!' })
      check(made.output_text && made.status === 'completed', `got ${JSON.stringify(made)}`)
      const again = await openai.responses.retrieve(made.id)
      same([again.id, again.output_text], [made.id, made.output_text])
      const items = await collect(openai.responses.inputItems.list(made.id))
      same(items.map((i) => i.content[0].text), ['Hello!'], 'input')
      const next = await openai.responses.create({ model, input: 'And now?', previous_response_id: made.id })
      same(next.previous_response_id, made.id)
      await openai.responses.delete(made.id)
      const gone = await fails(() => openai.responses.retrieve(made.id))
      check(gone instanceof OpenAI.NotFoundError, `got ${gone.stack}, want NotFoundError`)
    })
    await call(`responses ${model}: in the background, cancel`, async () => {
      const made = await openai.responses.create({ model, input: 'Take your time.', background: true })
      check(['queued', 'in_progress'].includes(made.status), `got the status ${made.status}`)
      same((await openai.responses.cancel(made.id)).status, 'cancelled')
    })
    await call(`responses ${model}: stream, and stream again`, async () => {
      const events = await collect(await openai.responses.create({ model, input: 'Hello!', stream: true }))
      const whole = events.at(-1).response
      same(events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta).join(''), whole.output[0].content[0].text)
      const again = await collect(await openai.responses.retrieve(whole.id, { stream: true, starting_after: 1 }))
      same(again, events.slice(2), 'events')
    })
    await call(`responses ${model}: calls of functions`, async () => {
      const tools = [{ type: 'function', name: 'weather', strict: true, parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false } }]
      const stream = openai.responses.stream({ model, input: 'call:weather', tools })
      const asked = (await stream.finalResponse()).output.find((item) => item.type === 'function_call')
      same([asked.name, Object.keys(JSON.parse(asked.arguments))], ['weather', ['city']])
      const answer = await openai.responses.create({
        model, tools, input: [{ role: 'user', content: 'call:weather' }, asked, { type: 'function_call_output', call_id: asked.call_id, output: '21' }],
      })
      check(answer.output_text, 'no text after the call')
    })
  }
}

async function embeddings() {
  for (const model of ['embedder', 'azure-embedder', 'llama-embedder']) {
    await call(`embeddings ${model}: as numbers, whichever way they travel`, async () => {
      const input = ['Hello!', 'Good bye!']
      const numbers = await openai.embeddings.create({ model, input, encoding_format: 'float' })
      const packed = await openai.embeddings.create({ model, input })
      same(numbers.data.length, 2)
      same(packed.data.map((d) => d.embedding.map(Math.fround)), numbers.data.map((d) => d.embedding.map(Math.fround)))
    })
  }
}

async function others() {
  const upload = (name) => toFile(file, name)
  await call('audio.speech', async () => {
    const answer = await openai.audio.speech.create({ model: 'tts', voice: 'alloy', input: 'Hello!' })
    same(answer.headers.get('content-type'), 'audio/mpeg', 'type')
    check(Buffer.from(await answer.arrayBuffer()).equals(file), 'the sound is not the one sent')
  })
  for (const model of ['whisper', 'azure-whisper']) {
    await call(`audio.transcriptions ${model}`, async () => {
      const text = await openai.audio.transcriptions.create({ model, file: await upload('speech.mp3'), response_format: 'text' })
      check(typeof text === 'string' && text.endsWith('\n'), `got ${JSON.stringify(text)}`)
      const more = await openai.audio.transcriptions.create({ model, file: await upload('speech.mp3'), response_format: 'verbose_json', timestamp_granularities: ['segment'] })
      check(more.segments.length === 1 && more.duration > 0, `got ${JSON.stringify(more)}`)
    })
  }
  await call('audio.transcriptions stream', async () => {
    const events = await collect(await openai.audio.transcriptions.create({ model: 'gpt-4o-transcribe', file: await upload('speech.wav'), stream: true }))
    const end = events.pop()
    same(events.map((e) => e.delta).join(''), end.text)
    check(end.usage.total_tokens > 0, 'no usage')
  })
  await call('audio.translations', async () => {
    check((await openai.audio.translations.create({ model: 'whisper', file: await upload('speech.mp3') })).text, 'no text')
  })
  await call('images.generate', async () => {
    const answer = await openai.images.generate({ model: 'gpt-image-1', prompt: 'A hat.', n: 2, quality: 'low' })
    same(answer.data.map((d) => Buffer.from(d.b64_json, 'base64').subarray(1, 4).toString()), ['PNG', 'PNG'])
    check(answer.usage.total_tokens > 0, 'no usage')
  })
  await call('images.generate without a model', async () => {
    check((await openai.images.generate({ prompt: 'A hat.' })).data[0].url, 'no URL')
  })
  await call('images.generate stream', async () => {
    const events = await collect(await openai.images.generate({ model: 'gpt-image-1', prompt: 'A hat.', stream: true, partial_images: 2 }))
    same(events.map((e) => e.type), ['image_generation.partial_image', 'image_generation.partial_image', 'image_generation.completed'])
  })
  await call('images.edit', async () => {
    const answer = await openai.images.edit({ model: 'gpt-image-1', prompt: 'A hat.', image: await upload('a.png'), mask: await upload('b.png') })
    check(answer.data[0].b64_json, 'no image')
  })
  await call('images.createVariation without a model', async () => {
    check((await openai.images.createVariation({ image: await upload('a.png'), response_format: 'b64_json' })).data[0].b64_json, 'no image')
  })
  await call('moderations without a model', async () => {
    const answer = await openai.moderations.create({ input: ['Hello!', 'Good bye!'] })
    same(answer.results.length, 2)
  })
}

async function models() {
  await call('models.list', async () => {
    const names = (await collect(openai.models.list())).map((m) => m.id)
    for (const name of ['gpt', 'llama', ...recordings.map((r) => r.model)]) check(names.includes(name), `${name} is not listed`)
  })
  await call('models.retrieve', async () => {
    same((await openai.models.retrieve('gpt')).id, 'gpt')
    const e = await fails(() => openai.models.retrieve('no-such-model'))
    same([e.constructor.name, e.code], ['NotFoundError', 'model_not_found'])
  })
}
