// Vercel's AI SDK across dialects: its OpenAI provider asks for models of Anthropic's and Bedrock's, its Anthropic provider
// for models of every kind of provider.
import { createAnthropic } from '@ai-sdk/anthropic'
import { openai } from '@ai-sdk/openai'
import { APICallError, RetryError, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from 'ai'
import { z } from 'zod'
import { call, check, client, collect, done, fails, png, same, script } from './check.js'

globalThis.AI_SDK_LOG_WARNINGS = false

const anthropic = createAnthropic({ baseURL: process.env.OPENAI_BASE_URL })
const claudes = ['claude-sonnet-4-5', 'anthropic.claude-sonnet-4-5']
const models = [
  ...[...claudes, 'amazon.nova-pro', 'chat-llama'].map((name) => [`responses ${name}`, openai(name)]),
  ...[...claudes, 'amazon.nova-pro'].map((name) => [`chat ${name}`, openai.chat(name)]),
  ...['gpt', 'azure-gpt', 'azure-v1-gpt', 'llama', 'amazon.nova-pro', ...claudes].map((name) => [`messages ${name}`, anthropic(name)]),
]

async function answers(name, model) {
  await call(`generateText ${name}`, async () => {
    const { text, finishReason, usage, response } = await generateText({ model, system: 'Be brief.', prompt: 'Hello!' })
    check(text && response.id && usage.inputTokens > 0 && usage.outputTokens > 0, `got ${JSON.stringify([text, usage])}`)
    same([finishReason, response.modelId], ['stop', `${model.modelId}-2026-01-01`])
    const streamed = streamText({ model, system: 'Be brief.', prompt: 'Hello!' })
    same((await collect(streamed.textStream)).join(''), text, 'deltas')
    same([await streamed.finishReason, (await streamed.usage).totalTokens], [finishReason, usage.totalTokens], 'streamed')
  })
  await call(`tools ${name}`, async () => {
    const asked = []
    const named = (what) => tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => { asked.push([what, typeof city]); return { degrees: 21 } } })
    const request = { model, tools: { weather: named('weather'), time: named('time') }, stopWhen: stepCountIs(3), prompt: 'call:weather,time' }
    const want = [['time', 'string'], ['weather', 'string']]
    const whole = await generateText(request)
    same([asked.splice(0).sort(), whole.steps.length, !!whole.text], [want, 2, true])
    const streamed = streamText(request)
    same([!!(await streamed.text), asked.splice(0).sort(), (await streamed.steps).length], [true, want, 2], 'streamed')
  })
  await call(`objects ${name}`, async () => {
    const schema = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() })
    const { object } = await generateObject({ model, schema, prompt: 'The weather, please.' })
    same(typeof object.degrees, 'number')
    const streamed = streamObject({ model, schema, prompt: 'The weather, please.' })
    same((await collect(streamed.partialObjectStream)).at(-1), object, 'streamed')
  })
  await call(`image ${name}`, async () => {
    const content = [{ type: 'text', text: 'What is it?' }, { type: 'image', image: Buffer.from(png, 'base64') }]
    check((await generateText({ model, messages: [{ role: 'user', content }] })).text, 'no text')
  })
}

// reasoning goes on through the steps of a conversation with tools.
async function reasoning(name, model, providerOptions) {
  const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: async () => 21 })
  const request = { model, tools: { weather }, stopWhen: stepCountIs(3), prompt: 'call:weather', providerOptions }
  await call(`reasoning ${name}`, async () => {
    const { steps, text } = await generateText(request)
    same(steps.map((s) => s.content.map((c) => c.type)), [['reasoning', 'tool-call', 'tool-result'], ['reasoning', 'text']])
    check(text, 'no text')
    const streamed = streamText(request)
    check(await streamed.text, 'no text, streamed')
    same((await streamed.steps).map((s) => !!s.reasoningText), [true, true], 'streamed')
  })
}

function failures(name, model) {
  const id = (what) => `${what}-${name}`.replaceAll(' ', '-')
  const ask = (what) => ({ model, prompt: script(what) })
  return [
    call(`429 with Retry-After, then success ${name}`, async (upstream) => {
      upstream.push({ id: id('limited'), requests: 2, gap: 1000 })
      same((await generateText(ask({ id: id('limited'), status: 429, retry_after_ms: 1000, times: 1 }))).text, 'It works now.')
    }),
    call(`500 for good ${name}`, async (upstream) => {
      upstream.push({ id: id('broken'), requests: 2 })
      const e = await fails(() => generateText({ ...ask({ id: id('broken'), status: 500 }), maxRetries: 1 }))
      check(RetryError.isInstance(e) && APICallError.isInstance(e.lastError), `got ${e.stack}, want RetryError`)
      same([e.lastError.statusCode, e.lastError.isRetryable], [502, true])
    }),
    call(`provider's 400 ${name}`, async (upstream) => {
      upstream.push({ id: id('bad'), requests: 1 })
      const e = await fails(() => generateText(ask({ id: id('bad'), status: 400 })))
      check(APICallError.isInstance(e), `got ${e.stack}, want APICallError`)
      same([e.statusCode, e.isRetryable, e.data.error.type], [400, false, 'invalid_request_error'])
    }),
    call(`stream that fails after it began ${name}`, async (upstream) => {
      upstream.push({ id: id('mid'), requests: 1 })
      let error
      const result = streamText({ ...ask({ id: id('mid'), fault: 'error-mid', event_delay_ms: 20 }), onError: (event) => { error = event.error } })
      check((await collect(result.textStream)).length > 0, 'the text before the failure is lost')
      check(error, 'the failure is lost')
    }),
    call(`abort a stream ${name}`, async (upstream) => {
      const leave = new AbortController()
      const result = streamText({ ...ask({ id: id('abort'), event_delay_ms: 20, tokens: 2000 }), abortSignal: leave.signal })
      let n = 0
      for await (const _ of result.textStream) if (++n === 5) leave.abort()
      upstream.push({ id: id('abort'), requests: 1, left: Date.now() })
    }),
  ]
}

client('ai', '@ai-sdk/openai', '@ai-sdk/anthropic')
await Promise.all(models.map(([name, model]) => answers(name, model)))
await Promise.all(claudes.flatMap((name) => [
  reasoning(`responses ${name}`, openai(name), { openai: { reasoningEffort: 'low', reasoningSummary: 'auto', forceReasoning: true } }),
  reasoning(`responses not stored ${name}`, openai(name), { openai: { reasoningEffort: 'low', reasoningSummary: 'auto', forceReasoning: true, store: false } }),
  reasoning(`messages ${name}`, anthropic(name), { anthropic: { thinking: { type: 'enabled', budgetTokens: 2048 } } }),
]))
await Promise.all(models.flatMap(([name, model]) => failures(name, model)))
await call('unknown model', async () => {
  const e = await fails(() => generateText({ model: anthropic('no-such-model'), prompt: 'Hello!' }))
  same([e.statusCode, e.data.error.type, e.isRetryable], [404, 'not_found_error', false])
})
done()
