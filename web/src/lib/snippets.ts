/** The same request as the page's, for programs: what users copy. Whatever a chat holds stays a string in each language. */
import type { Params } from '../api/types'

export interface Call {
  base: string // "https://host/v1"
  model: string
  system: string
  messages: { role: string; content: string }[]
  params: Params
  stream: boolean
}
export const LANGUAGES = ['curl', 'python', 'javascript'] as const
export type Language = (typeof LANGUAGES)[number]

/** What OpenAI's clients have a name for; the others go beside it. */
const KNOWN = new Set(['temperature', 'top_p', 'max_tokens', 'seed', 'presence_penalty', 'frequency_penalty'])

function messagesOf(call: Call): { role: string; content: string }[] {
  return [...(call.system ? [{ role: 'system', content: call.system }] : []), ...call.messages]
}
const indent = (value: unknown, by: string) => JSON.stringify(value, null, 2).replaceAll('\n', `\n${by}`)

/** In single quotes of a POSIX shell nothing has a meaning but the quote itself. */
export const shellQuoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`

function curl(call: Call): string {
  const body = { model: call.model, messages: messagesOf(call), ...call.params, ...(call.stream ? { stream: true } : {}) }
  return `curl ${call.stream ? '-N ' : ''}${call.base}/chat/completions \\
  -H "Authorization: Bearer $SAMPAN_API_KEY" \\
  -H 'Content-Type: application/json' \\
  -d ${shellQuoted(JSON.stringify(body, null, 2))}
`
}

/** JSON's strings, numbers, lists and objects are Python's, too. */
function python(call: Call): string {
  const extra = Object.fromEntries(Object.entries(call.params).filter(([name]) => !KNOWN.has(name)))
  const known = Object.entries(call.params).filter(([name]) => KNOWN.has(name))
  const lines = [
    `    model=${JSON.stringify(call.model)},`,
    `    messages=${indent(messagesOf(call), '    ')},`,
    ...known.map(([name, value]) => `    ${name}=${JSON.stringify(value)},`),
    ...(Object.keys(extra).length ? [`    extra_body=${indent(extra, '    ')},`] : []),
    ...(call.stream ? ['    stream=True,'] : []),
  ]
  const end = call.stream
    ? `for chunk in answer:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
`
    : 'print(answer.choices[0].message.content)\n'
  return `# pip install openai
import os

from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(call.base)}, api_key=os.environ.get("SAMPAN_API_KEY", "none"))
answer = client.chat.completions.create(
${lines.join('\n')}
)
${end}`
}

function javascript(call: Call): string {
  const body = { model: call.model, messages: messagesOf(call), ...call.params, ...(call.stream ? { stream: true } : {}) }
  const end = call.stream
    ? `for await (const chunk of answer) process.stdout.write(chunk.choices[0]?.delta?.content ?? '')
console.log()
`
    : 'console.log(answer.choices[0].message.content)\n'
  return `// npm install openai
import OpenAI from 'openai'

const client = new OpenAI({ baseURL: ${JSON.stringify(call.base)}, apiKey: process.env.SAMPAN_API_KEY ?? 'none' })
const answer = await client.chat.completions.create(${indent(body, '')})
${end}`
}

export const snippetOf = (language: Language, call: Call): string => ({ curl, python, javascript })[language](call)

/** A fence that no line of the text can close. */
export function fenced(code: string, language: string): string {
  const longest = Math.max(3, ...(code.match(/`+/g) ?? []).map((run) => run.length + 1))
  const fence = '`'.repeat(longest)
  return `${fence}${language}\n${code}${fence}\n`
}
