import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import en from '../src/i18n/en'
import zh from '../src/i18n/zh'
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
