// Vercel's AI SDK with its OpenAI provider: the default models speak the Responses API, .chat() models chat completions.
import { openai } from '@ai-sdk/openai'
import {
  APICallError, RetryError, embed, embedMany, experimental_generateSpeech, experimental_transcribe, generateImage, generateObject, generateText,
  jsonSchema, stepCountIs, streamObject, streamText, tool,
} from 'ai'
import { z } from 'zod'
import { call, check, client, collect, done, fails, file, recordings, same } from './check.js'

globalThis.AI_SDK_LOG_WARNINGS = false

const prompt = 'Please say what was recorded.'
const models = () => [
  ['default', openai('gpt')], ['default of Azure', openai('azure-v1-gpt')],
  ['chat', openai.chat('gpt')], ['chat of Azure', openai.chat('azure-gpt')], ['chat of vLLM', openai.chat('llama')],
]
const finish = { stop: 'stop', length: 'length', tool_calls: 'tool-calls', content_filter: 'content-filter' }

client('ai', '@ai-sdk/openai')
for (const r of recordings) await replay(r)
await tools()
await objects()
await embeddings()
await media()
await failures()
done()

async function replay(r) {
  if (!r.plain || r.status >= 400) return
  const model = r.endpoint === 'responses' ? openai(r.model) : openai.chat(r.model)
  if (!r.stream) {
    await call(`generateText ${r.name}`, async () => compare(await generateText({ model, prompt, tools: toolsOf(r) }), r))
    return
  }
  await call(`streamText ${r.name}`, async () => {
    const result = streamText({ model, prompt, tools: toolsOf(r), onError: ({ error }) => { throw error } })
    const text = (await collect(result.textStream)).join('')
    same(text, r.final.text || r.final.refusal, 'deltas')
    await compare(result, r)
  })
}

// toolsOf are the functions that the recorded model calls; without execute the calls are given to the caller.
function toolsOf(r) {
  const any = jsonSchema({ type: 'object', additionalProperties: true })
  return Object.fromEntries(r.final.calls.map((c) => [c.name, tool({ inputSchema: any })]))
}

async function compare(result, r) {
  const [text, calls, usage, reason, response] = await Promise.all([result.text, result.toolCalls, result.usage, result.finishReason, result.response])
  const want = r.final
  same(text, want.text || want.refusal, 'text')
  same(calls.map((c) => [c.toolCallId, c.toolName, c.input]), want.calls.map((c) => [c.id, c.name, JSON.parse(c.arguments)]), 'calls')
  same(reason, want.refusal ? 'content-filter' : r.endpoint === 'responses' ? (want.calls.length ? 'tool-calls' : 'stop') : finish[want.finish], 'finish')
  same([response.id, response.modelId], [want.id, want.model], 'id, model')
  if (want.usage) {
    same([usage.inputTokens, usage.outputTokens, usage.outputTokenDetails.reasoningTokens ?? 0, usage.inputTokenDetails.cacheReadTokens ?? 0],
      [want.usage.input, want.usage.output, want.usage.reasoning, want.usage.cached], 'usage')
  }
}

async function tools() {
  for (const [name, model] of models()) {
    const asked = []
    const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => { asked.push(typeof city); return { degrees: 21 } } })
    const request = { model, tools: { weather }, stopWhen: stepCountIs(3), prompt: 'call:weather' }
    await call(`generateText with tools, ${name}`, async () => {
      const result = await generateText(request)
      same([asked.splice(0), result.steps.length], [['string'], 2])
      check(result.text && result.totalUsage.outputTokens > 0, 'no text after the call')
    })
    await call(`streamText with tools, ${name}`, async () => {
      const result = streamText(request)
      check(await result.text, 'no text after the call')
      same([asked.splice(0), (await result.steps).length], [['string'], 2])
    })
  }
}

async function objects() {
  const schema = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() })
  for (const [name, model] of models()) {
    await call(`generateObject, ${name}`, async () => {
      const { object, usage } = await generateObject({ model, schema, prompt })
      same(typeof object.degrees, 'number')
      check(usage.outputTokens > 0, 'no usage')
    })
    await call(`streamObject, ${name}`, async () => {
      const result = streamObject({ model, schema, prompt })
      const parts = await collect(result.partialObjectStream)
      same(parts.at(-1), await result.object)
    })
  }
}

async function embeddings() {
  await call('embed, embedMany', async () => {
    for (const name of ['embedder', 'azure-embedder', 'llama-embedder']) {
      const model = openai.embedding(name)
      const one = await embed({ model, value: 'Hello!' })
      const many = await embedMany({ model, values: ['Hello!', 'Good bye!'] })
      same(many.embeddings[0], one.embedding)
      check(one.usage.tokens > 0 && many.embeddings.length === 2, 'no usage')
    }
  })
  const recorded = recordings.find((r) => r.name === 'embeddings-basic')
  await call(`embed ${recorded.name}`, async () => {
    const { embedding, usage } = await embed({ model: openai.embedding(recorded.model), value: recorded.request.input })
    same(embedding, recorded.body.data[0].embedding)
    same(usage.tokens, recorded.body.usage.total_tokens)
  })
}

async function media() {
  await call('generateImage', async () => {
    const { images } = await generateImage({ model: openai.image('gpt-image-1'), prompt: 'A hat.', n: 2 })
    same(images.map((i) => Buffer.from(i.uint8Array).subarray(1, 4).toString()), ['PNG', 'PNG'])
  })
  await call('generateSpeech', async () => {
    const { audio } = await experimental_generateSpeech({ model: openai.speech('tts'), text: 'Hello!' })
    check(Buffer.from(audio.uint8Array).equals(file), 'the sound is not the one sent')
  })
  const recorded = recordings.find((r) => r.name === 'transcription/openai-transcription')
  await call(`transcribe ${recorded.name}`, async () => {
    const { text, language, durationInSeconds } = await experimental_transcribe({ model: openai.transcription(recorded.model), audio: file })
    same([text, language, durationInSeconds], [recorded.body.text, 'en', recorded.body.duration])
  })
}

async function failures() {
  const model = openai.chat('gpt')
  const ask = (script) => ({ model, prompt: `[[${script}]]` })
  await Promise.all([
    call('429 with Retry-After, then success', async (upstream) => {
      upstream.push({ id: 'limited', requests: 2, gap: 1000 })
      same((await generateText(ask('id=limited&status=429&retry_after_ms=1000&times=1'))).text, 'It works now.')
    }),
    call('500, then success', async (upstream) => {
      upstream.push({ id: 'hiccup', requests: 2 })
      same((await generateText(ask('id=hiccup&status=500&times=1'))).text, 'It works now.')
    }),
    call('500 for good', async (upstream) => {
      upstream.push({ id: 'broken', requests: 2 })
      const e = await fails(() => generateText({ ...ask('id=broken&status=500'), maxRetries: 1 }))
      check(RetryError.isInstance(e) && APICallError.isInstance(e.lastError), `got ${e.stack}, want RetryError`)
      same([e.lastError.statusCode, e.lastError.isRetryable, e.lastError.data.error.code], [502, true, 'upstream_error'])
    }),
    call('provider\'s 400', async (upstream) => {
      upstream.push({ id: 'bad', requests: 1 })
      const e = await fails(() => generateText(ask('id=bad&status=400')))
      check(APICallError.isInstance(e), `got ${e.stack}, want APICallError`)
      same([e.statusCode, e.isRetryable, e.data.error.type], [400, false, 'invalid_request_error'])
    }),
    call('unknown model', async () => {
      const e = await fails(() => generateText({ model: openai('no-such-model'), prompt }))
      same([e.statusCode, e.data.error.code, e.isRetryable], [404, 'model_not_found', false])
    }),
    call('abort a stream', async (upstream) => {
      const leave = new AbortController()
      const result = streamText({ ...ask('id=abort&event_delay_ms=20&tokens=2000'), abortSignal: leave.signal })
      let n = 0
      for await (const _ of result.textStream) if (++n === 5) leave.abort()
      upstream.push({ id: 'abort', requests: 1, left: Date.now() })
    }),
    call('stream that fails after it began', async (upstream) => {
      upstream.push({ id: 'mid', requests: 1 })
      let error
      const result = streamText({ ...ask('id=mid&fault=error-mid&event_delay_ms=20'), onError: (event) => { error = event.error } })
      check((await collect(result.textStream)).length > 0, 'the text before the failure is lost')
      check(error, 'the failure is lost')
    }),
  ])
}
