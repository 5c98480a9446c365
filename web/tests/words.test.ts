import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import en from '../src/i18n/en'
import zh from '../src/i18n/zh'
import { ApiError } from '../src/api/client'
import { explainFile } from '../src/lib/errors'
import { SHORTCUTS } from '../src/lib/keys'
import { BUILTIN_PRESETS, FIELDS } from '../src/lib/presets'

function flat(words: object, prefix = ''): Map<string, unknown> {
  const found = new Map<string, unknown>()
  for (const [key, value] of Object.entries(words)) {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) for (const [k, v] of flat(value, `${prefix}${key}.`)) found.set(k, v)
    else found.set(prefix + key, value)
  }
  return found
}
const english = flat(en)
const chinese = flat(zh)

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? (['i18n', 'generated'].includes(entry.name) ? [] : sources(join(folder, entry.name))) : [join(folder, entry.name)],
  )
}
const code = sources(join(import.meta.dirname, '../src'))
  .filter((name) => /\.(ts|vue)$/.test(name))
  .map((name) => ({ name, text: readFileSync(name, 'utf8') }))

/** The arguments of a call in C, from behind its bracket on. */
function argumentsAt(text: string, from: number): string[] {
  const found = ['']
  for (let at = from, depth = 0; depth >= 0 && at < text.length; at++) {
    const string = /^"(?:\\.|[^"\\])*"/.exec(text.slice(at, at + 2000))?.[0]
    const part = string ?? (text[at] as string)
    depth += '([{'.includes(part) ? 1 : ')]}'.includes(part) ? -1 : 0
    if (part === ',' && depth === 0) found.push('')
    else if (depth >= 0) found.push(`${found.pop()}${part}`)
    at += part.length - 1
  }
  return found
}

/** Codes of errors in the server's source, with where each was found; /admin/ is not the page's. */
function serverCodes(): Map<string, string> {
  const folder = join(import.meta.dirname, '../../src/server')
  const place: Record<string, number> = { reply_set_error: 4, reply_error_object: 2, ask_refused: 2, end_badly: 1 }
  const found = new Map<string, string>()
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.c') && !file.startsWith('api_admin'))) {
    const text = readFileSync(join(folder, name), 'utf8')
    for (const call of text.matchAll(/\b(reply_set_error|reply_error_object|ask_refused|end_badly)\(/g)) {
      const words = argumentsAt(text, call.index + call[0].length)[place[call[1] as string] as number] ?? ''
      for (const [, code] of words.matchAll(/"(\w+)"/g)) found.set(code as string, name)
    }
    for (const [, body] of text.matchAll(/^const char \*reply_code_of\(int code\)\n\{([^}]*)/gm))
      for (const [, code] of (body as string).matchAll(/"(\w+)"/g)) found.set(code as string, name)
    for (const [, code] of text.matchAll(/(?:\? |: )"(history_\w+|server_error|invalid_request)"/g)) found.set(code as string, name)
  }
  return found
}

describe('codes of the server', () => {
  it('have words in both languages', () => {
    const codes = serverCodes()
    expect(codes.size).toBeGreaterThan(40) // the source is read as it is written
    for (const [code, name] of codes) {
      const key = explainFile(new ApiError(400, 'detail', code), (key) => key, (key) => english.has(key))
      expect(key, `${code} of ${name}`).not.toBe('errors.other')
      for (const words of [english, chinese]) expect(words.get(key), `${code} of ${name}`).toBeTypeOf('string')
    }
  })
})

describe('words', () => {
  it('are there in both languages, with the same fields', () => {
    expect([...chinese.keys()]).toEqual([...english.keys()])
    const fields = (text: unknown) => [...new Set(String(text).match(/\{\w+\}/g) ?? [])].sort()
    for (const [key, text] of english) expect(fields(chinese.get(key)), key).toEqual(fields(text))
  })
  it('are Chinese in Chinese', () => {
    const same = [...english].filter(([key, text]) => text === chinese.get(key)).map(([key]) => key)
    expect(same).toEqual(['panel.top_p', 'panel.top_k', 'panel.min_p', 'settings.sendEnter', 'settings.sendMod', 'settings.version', 'errors.other'])
  })
  it('are all defined where they are used, and all used', () => {
    const used = new Set<string>()
    const prefixes: string[] = []
    for (const { name, text } of code) {
      for (const [, key] of text.matchAll(/\b\$?tm?\(\s*'([\w.]+)'/g)) {
        expect(english.has(key as string), `${key} in ${name}`).toBe(true)
        used.add(key as string)
      }
      for (const [, a, b] of text.matchAll(/\? '([\w.]+)' : '([\w.]+)'/g)) for (const key of [a, b]) if (key && english.has(key)) used.add(key)
      for (const [, prefix] of text.matchAll(/`([\w.]+\.(?:\w+_)?)\$\{/g)) if (prefix) prefixes.push(prefix)
    }
    const unused = [...english.keys()].filter((key) => !used.has(key) && !prefixes.some((prefix) => key.startsWith(prefix)))
    expect(unused).toEqual([])
  })
  it('are there for what has its name from a list', () => {
    for (const shortcut of SHORTCUTS) expect(english.has(`shortcuts.${shortcut.name}`)).toBe(true)
    for (const field of FIELDS) expect(english.has(`panel.${field.name}`) && english.has(`panel.help.${field.name}`)).toBe(true)
    for (const preset of BUILTIN_PRESETS) expect(english.has(`panel.builtin.${preset.name}`)).toBe(true)
  })
  it('stand in the words only: no Chinese in components', () => {
    const allowed = ['SettingsView.vue', 'presets.ts', 'languages.ts'] // the languages' own names; prompts for the model
    for (const { name, text } of code) if (!allowed.some((end) => name.endsWith(end))) expect(text, name).not.toMatch(/\p{Script=Han}/u)
  })
})

describe('the page', () => {
  it('sets HTML in one place only, and evaluates nothing', () => {
    for (const { name, text } of code) expect(text, name).not.toMatch(/v-html|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/)
  })
})
