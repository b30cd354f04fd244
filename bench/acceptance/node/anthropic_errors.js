// Failures as Anthropic's client must see them: the class of error that Anthropic would have caused, retries where it may,
// and an end upstream to what it drops.
import Anthropic from '@anthropic-ai/sdk'
import { call, check, collect, fails, same, script } from './check.js'

const claude = 'claude-sonnet-4-5'
const bedrock = 'anthropic.claude-sonnet-4-5'
const models = ['gpt', 'azure-gpt', 'llama', claude, bedrock]

const ask = (model, content) => ({ model, max_tokens: 4000, messages: [{ role: 'user', content }] })

export async function failures(anthropic) {
  await Promise.all([...retries(anthropic), ...classes(anthropic), ...mistakes(anthropic), ...streams(anthropic), ...departures(anthropic)])
}

function retries(anthropic) {
  const text = (message) => message.content[0].text
  const again = models.flatMap((model) => [
    call(`429 with Retry-After, then success ${model}`, async (upstream) => {
      const id = `limited-${model}`
      upstream.push({ id, requests: 2, gap: 1000 })
      same(text(await anthropic.messages.create(ask(model, script({ id, status: 429, retry_after_ms: 1000, times: 1 })))), 'It works now.')
    }),
    call(`stream that begins with an error, then success ${model}`, async (upstream) => {
      const id = `first-${model}`
      upstream.push({ id, requests: 2 })
      same(text(await anthropic.messages.stream(ask(model, script({ id, fault: 'error-first', times: 1 }))).finalMessage()), 'It works now.')
    }),
  ])
  return [...again,
    call('529, then success', async (upstream) => {
      upstream.push({ id: 'overloaded', requests: 2 })
      same(text(await anthropic.messages.create(ask(claude, script({ id: 'overloaded', status: 529, times: 1 })))), 'It works now.')
    }),
    call('500 for good', async (upstream) => {
      upstream.push({ id: 'broken', requests: 3 })
      const e = await fails(() => anthropic.messages.create(ask(claude, script({ id: 'broken', status: 500 }))))
      same([e.constructor.name, e.status, e.error.type, e.error.error.type], ['InternalServerError', 502, 'error', 'api_error'])
      check(e.requestID && e.error.request_id === e.requestID, 'no request id')
    }),
  ]
}

function classes(anthropic) {
  const answers = { // of the provider: class, status and type that the client sees
    gpt: [
      [400, 'BadRequestError', 400, 'invalid_request_error'], [401, 'InternalServerError', 502, 'api_error'], [404, 'NotFoundError', 404, 'not_found_error'],
      [429, 'RateLimitError', 429, 'rate_limit_error'], [503, 'InternalServerError', 502, 'api_error'], [504, 'GatewayTimeoutError', 504, 'timeout_error'],
    ],
    [claude]: [
      [400, 'BadRequestError', 400, 'invalid_request_error'], [401, 'InternalServerError', 502, 'api_error'], [402, 'InternalServerError', 502, 'api_error'],
      [403, 'InternalServerError', 502, 'api_error'], [404, 'NotFoundError', 404, 'not_found_error'], [413, 'ContentTooLargeError', 413, 'request_too_large'],
      [429, 'RateLimitError', 429, 'rate_limit_error'], [500, 'InternalServerError', 502, 'api_error'], [504, 'GatewayTimeoutError', 504, 'timeout_error'],
      [529, 'OverloadedError', 529, 'overloaded_error'],
    ],
    [bedrock]: [
      [400, 'BadRequestError', 400, 'invalid_request_error'], [403, 'InternalServerError', 502, 'api_error'], [404, 'NotFoundError', 404, 'not_found_error'],
      [408, 'GatewayTimeoutError', 504, 'timeout_error'], [424, 'InternalServerError', 502, 'api_error'], [429, 'RateLimitError', 429, 'rate_limit_error'],
      [500, 'InternalServerError', 502, 'api_error'], [503, 'InternalServerError', 502, 'api_error'],
    ],
  }
  return Object.entries(answers).flatMap(([model, list]) => list.map(([status, ...want]) => call(`provider's ${status} ${model}`, async (upstream) => {
    const id = `class${status}-${model}`
    upstream.push({ id, requests: 1 })
    const e = await fails(() => anthropic.messages.create(ask(model, script({ id, status })), { maxRetries: 0 }))
    same([e.constructor.name, e.status, e.error.error.type], want)
    check(e.error.type === 'error' && e.error.error.message && e.error.request_id, `got ${JSON.stringify(e.error)}`)
  })))
}

function mistakes(anthropic) {
  const seen = async (run, ...want) => {
    const e = await fails(run)
    same([e.constructor.name, e.status, e.error.error.type], want)
    return e.error.error.message
  }
  return [
    call('provider\'s error code', async (upstream) => {
      const error = { type: 'invalid_request_error', message: 'The image is too large.', details: { error_code: 'image_dimensions_too_large' } }
      upstream.push({ id: 'coded', requests: 1 })
      const e = await fails(() => anthropic.messages.create(ask(claude, script({ id: 'coded', status: 400, body: JSON.stringify({ type: 'error', error }) }))))
      same(e.error.error, error)
    }),
    call('wrong key', async () => {
      await seen(() => new Anthropic({ apiKey: 'jv-this-key-is-nobodys' }).messages.create(ask('gpt', 'Hello!')), 'AuthenticationError', 401, 'authentication_error')
    }),
    call('key as older clients send it', async () => {
      const other = new Anthropic({ apiKey: null, defaultHeaders: { 'x-api-key': anthropic.apiKey } })
      check((await other.messages.create(ask(claude, 'Hello!'))).id, 'no answer')
    }),
    call('unknown model', async () => {
      await seen(() => anthropic.messages.create(ask('no-such-model', 'Hello!')), 'NotFoundError', 404, 'not_found_error')
    }),
    ...models.map((model) => call(`no max_tokens ${model}`, async () => {
      const message = await seen(() => anthropic.messages.create({ model, messages: ask(model, 'Hello!').messages }), 'BadRequestError', 400, 'invalid_request_error')
      check(message.includes('max_tokens'), `got ${message}`)
    })),
    ...models.map((model) => call(`tool call without its result ${model}`, async () => {
      const request = ask(model, 'Hello!')
      request.tools = [{ name: 'weather', input_schema: { type: 'object' } }]
      request.messages.push({ role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'weather', input: {} }] }, { role: 'user', content: 'Well?' })
      const message = await seen(() => anthropic.messages.create(request), 'BadRequestError', 400, 'invalid_request_error')
      check(message.includes('tool'), `got ${message}`)
    })),
    call('image by URL for Bedrock', async () => {
      const image = { type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } }
      const message = await seen(() => anthropic.messages.create(ask(bedrock, [image])), 'BadRequestError', 400, 'invalid_request_error')
      check(message.includes('messages[0].content[0]'), `got ${message}`)
    }),
    call('API that the gateway does not have', async () => {
      await seen(() => anthropic.messages.batches.list(), 'NotFoundError', 404, 'not_found_error')
    }),
  ]
}

// streams that fail after they began: what came so far stays, then the error is thrown. A failure right behind the first
// words would still be an ordinary error, so the provider takes its time.
function streams(anthropic) {
  const broken = (model, fault, more, type) => call(`stream with ${fault} ${JSON.stringify(more)} ${model}`, async (upstream) => {
    const id = `${fault}-${model}-${type}`
    upstream.push({ id, requests: 1 })
    let text = ''
    const e = await fails(async () => {
      for await (const event of await anthropic.messages.create({ ...ask(model, script({ id, fault, event_delay_ms: 20, ...more })), stream: true })) {
        text += event.delta?.text ?? ''
      }
    })
    check(e instanceof Anthropic.APIError, `got ${e.stack}, want an APIError`)
    same([e.error?.type, e.error?.error?.type], ['error', type])
    check(text !== '', 'the text before the failure is lost')
  })
  return [
    ...models.flatMap((model) => ['error-mid', 'cut', 'reset-mid'].map((fault) => broken(model, fault, {}, 'api_error'))),
    broken(claude, 'error-mid', { fault_as: 529 }, 'overloaded_error'),
    broken(bedrock, 'error-mid', { fault_as: 429 }, 'rate_limit_error'),
    broken(bedrock, 'bad-crc', {}, 'api_error'),
  ]
}

// departures: when the client leaves, the provider must be left too.
function departures(anthropic) {
  return models.flatMap((model) => [
    call(`abort a stream ${model}`, async (upstream) => {
      const id = `abort-${model}`
      const stream = anthropic.messages.stream(ask(model, script({ id, event_delay_ms: 20, tokens: 2000 })))
      let n = 0
      const e = await fails(async () => { for await (const _ of stream) if (++n === 5) stream.abort() })
      upstream.push({ id, requests: 1, left: Date.now() })
      check(e instanceof Anthropic.APIUserAbortError, `got ${e.stack}, want APIUserAbortError`)
    }),
    call(`break out of a stream ${model}`, async (upstream) => {
      const id = `break-${model}`
      let n = 0
      for await (const _ of await anthropic.messages.create({ ...ask(model, script({ id, event_delay_ms: 20, tokens: 2000 })), stream: true })) if (++n === 5) break
      upstream.push({ id, requests: 1, left: Date.now() })
    }),
    call(`time-out ${model}`, async (upstream) => {
      const id = `timeout-${model}`
      const e = await fails(() => anthropic.messages.create(ask(model, script({ id, delay_ms: 40000 })), { timeout: 500, maxRetries: 0 }))
      upstream.push({ id, requests: 1, left: Date.now() })
      check(e instanceof Anthropic.APIConnectionTimeoutError, `got ${e.stack}, want APIConnectionTimeoutError`)
    }),
  ])
}
