// LangChain with its OpenAI package, over chat completions and over the Responses API.
import { HumanMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { ChatOpenAI, OpenAI, OpenAIEmbeddings } from '@langchain/openai'
import { z } from 'zod'
import { call, check, client, collect, done, fails, recordings, same } from './check.js'

const prompt = 'Please say what was recorded.'
const models = () => [
  ['chat', new ChatOpenAI({ model: 'gpt' })], ['chat of Azure', new ChatOpenAI({ model: 'azure-gpt' })], ['chat of vLLM', new ChatOpenAI({ model: 'llama' })],
  ['responses', new ChatOpenAI({ model: 'gpt', useResponsesApi: true })], ['responses of Azure', new ChatOpenAI({ model: 'azure-v1-gpt', useResponsesApi: true })],
]

client('@langchain/openai')
for (const r of recordings) await replay(r)
await tools()
await objects()
await embeddings()
await failures()
done()

async function replay(r) {
  if (!r.plain || r.status >= 400) return
  const model = new ChatOpenAI({ model: r.model, useResponsesApi: r.endpoint === 'responses' })
  if (!r.stream) return call(`invoke ${r.name}`, async () => compare(await model.invoke(prompt), r))
  await call(`stream ${r.name}`, async () => {
    const chunks = await collect(await model.stream(prompt))
    compare(chunks.reduce((all, chunk) => all.concat(chunk)), r)
  })
}

function compare(message, r) {
  const want = r.final
  same(message.text, want.text, 'text')
  same(message.tool_calls.map((c) => ({ id: c.id, name: c.name, args: c.args })),
    want.calls.map((c) => ({ id: c.id, name: c.name, args: JSON.parse(c.arguments) })), 'calls')
  same(message.response_metadata.finish_reason ?? message.response_metadata.status, want.finish, 'finish')
  if (want.usage) same([message.usage_metadata.input_tokens, message.usage_metadata.output_tokens], [want.usage.input, want.usage.output], 'usage')
}

async function tools() {
  const weather = tool(async () => '21', { name: 'weather', description: 'The weather.', schema: z.object({ city: z.string() }) })
  for (const [name, model] of models()) {
    await call(`bindTools, ${name}`, async () => {
      const messages = [new HumanMessage('call:weather')]
      const asking = await model.bindTools([weather]).invoke(messages)
      same(asking.tool_calls.map((c) => [c.name, typeof c.args.city]), [['weather', 'string']])
      const answer = await model.bindTools([weather]).invoke([...messages, asking, await weather.invoke(asking.tool_calls[0])])
      check(answer.text, 'no text after the call')
    })
    await call(`bindTools and stream, ${name}`, async () => {
      const chunks = await collect(await model.bindTools([weather]).stream('call:weather'))
      const whole = chunks.reduce((all, chunk) => all.concat(chunk))
      same(whole.tool_calls.map((c) => [c.name, typeof c.args.city]), [['weather', 'string']])
    })
  }
}

async function objects() {
  const schema = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() })
  for (const [name, model] of models()) {
    await call(`withStructuredOutput, ${name}`, async () => {
      const answer = await model.withStructuredOutput(schema, { name: 'weather' }).invoke('The weather, please.')
      same(typeof answer.sunny, 'boolean')
    })
  }
}

async function embeddings() {
  for (const model of ['embedder', 'azure-embedder', 'llama-embedder']) {
    await call(`embedDocuments, embedQuery ${model}`, async () => {
      const embedder = new OpenAIEmbeddings({ model })
      const [hello, bye] = await embedder.embedDocuments(['Hello!', 'Good bye!'])
      same(await embedder.embedQuery('Hello!'), hello)
      check(bye.length === hello.length && hello.length > 0, 'no embedding')
    })
  }
  const recorded = recordings.find((r) => r.name === 'embeddings-basic')
  await call(`embedQuery ${recorded.name}`, async () => {
    const embedder = new OpenAIEmbeddings({ model: recorded.model, encodingFormat: 'float' })
    same(await embedder.embedQuery(recorded.request.input), recorded.body.data[0].embedding)
  })
  const text = recordings.find((r) => r.name === 'completion-basic')
  await call(`invoke ${text.name}`, async () => {
    same(await new OpenAI({ model: text.model }).invoke(prompt), text.final.text)
  })
}

async function failures() {
  const model = new ChatOpenAI({ model: 'gpt', maxRetries: 2 })
  await Promise.all([
    call('429 with Retry-After, then success', async (upstream) => {
      upstream.push({ id: 'limited', requests: 2, gap: 1000 })
      same((await model.invoke('[[id=limited&status=429&retry_after_ms=1000&times=1]]')).text, 'It works now.')
    }),
    call('500, then success', async (upstream) => {
      upstream.push({ id: 'hiccup', requests: 2 })
      same((await model.invoke('[[id=hiccup&status=500&times=1]]')).text, 'It works now.')
    }),
    call('provider\'s 400', async (upstream) => {
      upstream.push({ id: 'bad', requests: 1 })
      same((await fails(() => model.invoke('[[id=bad&status=400]]'))).status, 400)
    }),
    call('unknown model', async () => {
      const e = await fails(() => new ChatOpenAI({ model: 'no-such-model' }).invoke('Hello!'))
      same([e.status, e.code], [404, 'model_not_found'])
    }),
    call('break out of a stream', async (upstream) => {
      let n = 0
      for await (const _ of await model.stream('[[id=break&event_delay_ms=20&tokens=2000]]')) if (++n === 5) break
      upstream.push({ id: 'break', requests: 1, left: Date.now() })
    }),
  ])
}
