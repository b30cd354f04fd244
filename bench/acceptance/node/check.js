// What the programs share: the plan that the test driver wrote, and their report to it, one JSON line per call.
import { readFileSync } from 'node:fs'

const plan = JSON.parse(readFileSync(process.env.ACCEPTANCE_PLAN, 'utf8'))

export const recordings = plan.recordings
export const told = plan.told // by Anthropic and by Bedrock
export const file = Buffer.from(plan.file, 'base64') // stands for sounds and pictures
export const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=' // a picture

const report = (line) => console.log(JSON.stringify(line))

export function client(...packages) {
  const manifest = (name) => JSON.parse(readFileSync(new URL(`./node_modules/${name}/package.json`, import.meta.url), 'utf8'))
  report({ version: packages.map((name) => manifest(name).version).join(' + ') })
}

// call makes one call and reports how it went. What providers must have seen of its scripts goes into the list that run gets.
export async function call(name, run) {
  const upstream = []
  let error = ''
  try {
    await run(upstream)
  } catch (e) {
    error = (e.stack ?? String(e)).slice(0, 3000) || 'failed'
  }
  report({ call: name, error, upstream })
}

// script is what a request says to meet a failure, or an answer that is agreed on: upstream_test.go reads it.
export const script = (what) => `[[${new URLSearchParams(what)}]]`

export const done = () => report({ done: true })

// same compares as JSON, so that undefined is absent, and names the first difference.
export function same(got, want, what = 'answer') {
  const at = difference(plain(got), plain(want), what)
  if (at) throw new Error(at)
}

const plain = (v) => (v === undefined ? undefined : JSON.parse(JSON.stringify(v)))
const show = (v) => String(JSON.stringify(v)).slice(0, 500)

function difference(got, want, path) {
  if (got === want) return ''
  const objects = got && want && typeof got === 'object' && typeof want === 'object' && Array.isArray(got) === Array.isArray(want)
  if (!objects) return `${path}: got ${show(got)}, want ${show(want)}`
  for (const key of new Set([...Object.keys(want), ...Object.keys(got)])) {
    const at = difference(got[key], want[key], `${path}.${key}`)
    if (at) return at
  }
  return ''
}

export function check(ok, what) {
  if (!ok) throw new Error(what)
}

// fails runs what must fail, and returns the error.
export async function fails(run) {
  try {
    await run()
  } catch (e) {
    return e
  }
  throw new Error('got an answer, want an error')
}

export async function collect(stream) {
  const all = []
  for await (const item of stream) all.push(item)
  return all
}
