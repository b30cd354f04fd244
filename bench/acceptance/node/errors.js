// Failures: the client must see the class of error that OpenAI would have caused, retry what it may, and stop what it drops.
import OpenAI from 'openai'
import { call, check, collect, fails, same } from './check.js'

// ask is a chat request whose script tells the provider how to fail.
const ask = (script, more) => ({ model: 'gpt', messages: [{ role: 'user', content: `[[${script}]]` }], ...more })

export async function failures(openai) {
  await Promise.all([...retries(openai), ...classes(openai), ...streams(openai), ...departures(openai)])
}

function retries(openai) {
  const chat = openai.chat.completions
  const works = async (request) => same((await chat.create(request)).choices[0].message.content, 'It works now.')
  return [
    call('429 with Retry-After, then success', async (upstream) => {
      upstream.push({ id: 'limited', requests: 2, gap: 1000 })
      await works(ask('id=limited&status=429&retry_after_ms=1000&times=1'))
    }),
    call('500, then success', async (upstream) => {
      upstream.push({ id: 'hiccup', requests: 2 })
      await works(ask('id=hiccup&status=500&times=1'))
    }),
    call('connection reset, then success', async (upstream) => {
      upstream.push({ id: 'reset', requests: 2 })
      await works(ask('id=reset&fault=reset&times=1'))
    }),
    call('503 twice, then a stream', async (upstream) => {
      upstream.push({ id: 'busy', requests: 3 })
      const chunks = await collect(await chat.create(ask('id=busy&status=503&times=2', { stream: true })))
      same(chunks.map((c) => c.choices[0]?.delta.content ?? '').join(''), 'It works now.')
    }),
    call('stream that begins with an error, then success', async (upstream) => {
      upstream.push({ id: 'first', requests: 2 })
      const chunks = await collect(await chat.create(ask('id=first&fault=error-first&times=1', { stream: true })))
      same(chunks.map((c) => c.choices[0]?.delta.content ?? '').join(''), 'It works now.')
    }),
    call('429 and x-should-retry: false', async (upstream) => {
      upstream.push({ id: 'final429', requests: 1 })
      const e = await fails(() => chat.create(ask('id=final429&status=429&should_retry=false')))
      check(e instanceof OpenAI.RateLimitError, `got ${e.stack}, want RateLimitError`)
    }),
    call('500 and x-should-retry: false', async (upstream) => {
      upstream.push({ id: 'final500', requests: 1 })
      const e = await fails(() => chat.create(ask('id=final500&status=500&should_retry=false')))
      check(e instanceof OpenAI.InternalServerError, `got ${e.stack}, want InternalServerError`)
    }),
    call('500 for good', async (upstream) => {
      upstream.push({ id: 'broken', requests: 3 })
      const e = await fails(() => chat.create(ask('id=broken&status=500')))
      same([e.constructor.name, e.status, e.code, e.type], ['InternalServerError', 502, 'upstream_error', 'server_error'])
      check(e.requestID, 'no request id')
    }),
  ]
}

function classes(openai) {
  const chat = openai.chat.completions
  const answer = [ // of the provider; class, status and code that the client sees
    [400, 'BadRequestError', 400, null],
    [401, 'InternalServerError', 502, 'upstream_auth'],
    [404, 'NotFoundError', 404, 'model_not_found'],
    [409, 'ConflictError', 409, null],
    [422, 'UnprocessableEntityError', 422, null],
    [429, 'RateLimitError', 429, 'upstream_rate_limited'],
    [503, 'InternalServerError', 502, 'upstream_error'],
    [504, 'InternalServerError', 504, 'timeout'],
  ]
  const mapped = answer.map(([status, ...want]) => call(`provider's ${status}`, async (upstream) => {
    upstream.push({ id: `class${status}`, requests: 1 })
    const e = await fails(() => chat.create(ask(`id=class${status}&status=${status}`), { maxRetries: 0 }))
    same([e.constructor.name, e.status], want.slice(0, 2))
    if (want[2]) same(e.code, want[2], 'code')
  }))
  const hello = { messages: [{ role: 'user', content: 'Hello!' }] }
  return [...mapped,
    call('wrong key', async () => {
      const e = await fails(() => new OpenAI({ apiKey: 'jv-this-key-is-nobodys' }).chat.completions.create({ model: 'gpt', ...hello }))
      same([e.constructor.name, e.status, e.code, e.type], ['AuthenticationError', 401, 'invalid_api_key', 'invalid_request_error'])
    }),
    call('unknown model', async () => {
      const e = await fails(() => chat.create({ model: 'no-such-model', ...hello }))
      same([e.constructor.name, e.status, e.code, e.param], ['NotFoundError', 404, 'model_not_found', 'model'])
    }),
    call('no model', async () => {
      const e = await fails(() => chat.create(hello))
      same([e.constructor.name, e.status, e.param, e.type], ['BadRequestError', 400, 'model', 'invalid_request_error'])
    }),
    call('API that the gateway does not have', async () => {
      const e = await fails(() => openai.files.list())
      same([e.constructor.name, e.status, e.code], ['NotFoundError', 404, 'unknown_url'])
    }),
  ]
}

// streams that fail after they began: what came so far stays, then the error is thrown. A failure right behind the first
// words would still be an ordinary error, so the provider takes its time.
function streams(openai) {
  return ['error-mid', 'cut', 'reset-mid'].map((fault) => call(`stream with ${fault}`, async (upstream) => {
    upstream.push({ id: fault, requests: 1 })
    let text = ''
    const e = await fails(async () => {
      for await (const chunk of await openai.chat.completions.create(ask(`id=${fault}&fault=${fault}&event_delay_ms=20`, { stream: true }))) {
        text += chunk.choices[0]?.delta.content ?? ''
      }
    })
    check(e instanceof OpenAI.APIError, `got ${e.stack}, want an APIError`)
    same([e.code, e.type], ['upstream_error', 'server_error'])
    check(text !== '', 'the text before the failure is lost')
  }))
}

// departures: when the client leaves, the provider must be left too.
function departures(openai) {
  const chat = openai.chat.completions
  const slow = (id) => ask(`id=${id}&event_delay_ms=20&tokens=2000`, { stream: true })
  return [
    call('abort a stream', async (upstream) => {
      const stream = await chat.create(slow('abort'))
      let n = 0
      for await (const _ of stream) if (++n === 5) stream.controller.abort()
      upstream.push({ id: 'abort', requests: 1, left: Date.now() })
    }),
    call('break out of a stream', async (upstream) => {
      let n = 0
      for await (const _ of await chat.create(slow('break'))) if (++n === 5) break
      upstream.push({ id: 'break', requests: 1, left: Date.now() })
    }),
    call('abort before the answer', async (upstream) => {
      const e = await fails(() => chat.create(ask('id=early&delay_ms=40000'), { signal: AbortSignal.timeout(300) }))
      upstream.push({ id: 'early', requests: 1, left: Date.now() })
      check(e instanceof OpenAI.APIUserAbortError, `got ${e.stack}, want APIUserAbortError`)
    }),
    call('time-out', async (upstream) => {
      const e = await fails(() => chat.create(ask('id=timeout&delay_ms=40000'), { timeout: 300, maxRetries: 0 }))
      upstream.push({ id: 'timeout', requests: 1, left: Date.now() })
      check(e instanceof OpenAI.APIConnectionTimeoutError, `got ${e.stack}, want APIConnectionTimeoutError`)
    }),
  ]
}
