import { describe, expect, it } from 'vitest'
import { ApiError } from '../src/api/client'
import { ageOf } from '../src/lib/dates'
import { explain, explainServer } from '../src/lib/errors'
import { fileName } from '../src/lib/files'
import { newId } from '../src/lib/id'
import { spokenText } from '../src/lib/languages'
import { snippetParts } from '../src/lib/snippet'
import { load, save } from '../src/lib/storage'
import { languageFor } from '../src/stores/settings'

describe('ids', () => {
  it('are 128 bits in 26 letters, and differ', () => {
    const made = new Set(Array.from({ length: 1000 }, () => newId('m_')))
    expect(made.size).toBe(1000)
    for (const id of made) expect(id).toMatch(/^m_[a-z2-7]{26}$/)
  })
})

describe('names of files', () => {
  it('are titles without what systems forbid', () => {
    expect(fileName('黄鹤楼: a/b\\c?')).toBe('黄鹤楼  a b c')
    expect(fileName('...')).toBe('chat')
    expect(fileName('\u202e')).toBe('chat')
    expect([...fileName('舢'.repeat(100))].length).toBe(60)
  })
})

describe('excerpts', () => {
  it('are cut at the marks', () => {
    expect(snippetParts('去\u0002长江\u0003边')).toEqual([
      { text: '去', match: false },
      { text: '长江', match: true },
      { text: '边', match: false },
    ])
    expect(snippetParts('\u0002a\u0003\u0002b')).toEqual([
      { text: 'a', match: true },
      { text: 'b', match: true },
    ])
    expect(snippetParts('')).toEqual([])
  })
})

describe('ages', () => {
  it('are counted in days of the calendar', () => {
    const now = new Date(2026, 5, 15, 0, 30)
    const at = (day: number, hour: number) => ageOf(new Date(2026, 5, day, hour).getTime() / 1000, now)
    expect([at(15, 0), at(14, 23), at(13, 23), at(9, 1), at(8, 23)]).toEqual(['today', 'yesterday', 'week', 'week', 'month'])
    expect(ageOf(0, now)).toBe('older')
  })
})

describe('the language', () => {
  it("is the browser's first, unless chosen", () => {
    expect(languageFor('auto', ['zh-TW', 'en'])).toBe('zh')
    expect(languageFor('auto', ['en-GB', 'zh'])).toBe('en')
    expect(languageFor('auto', [])).toBe('en')
    expect(languageFor('zh', ['en'])).toBe('zh')
  })
})

describe('the languages of a model', () => {
  const t = (name: string, named: Record<string, unknown> = {}) => [name.replace('models.languages.', ''), ...Object.values(named)].join('|')
  it("are told in the reader's", () => {
    expect(spokenText('zh, en', 'zh', t)).toBe('中文、英语')
    expect(spokenText('zh, en, code', 'en', t)).toBe('Chinese, English, code')
    expect(spokenText('zh, en and 27 more', 'en', t)).toBe('more|Chinese, English|27')
    expect(spokenText('en, mostly', 'en', t)).toBe('mostly|English')
  })
})

describe('errors', () => {
  const t = (name: string, named: Record<string, unknown>) => `${name}|${String(named['detail'])}`
  it('are told by what can be done about them', () => {
    expect(explain(new ApiError(0, 'x'), t)).toBe('errors.offline|x')
    expect(explain(new ApiError(400, 'too long', 'context_length_exceeded'), t)).toBe('errors.context|too long')
    expect(explain(new ApiError(429, 'full', 'queue_full'), t)).toBe('errors.busy|full')
    expect(explain(new ApiError(507, 'full', 'history_full'), t)).toBe('errors.disk|full')
    expect(explain(new ApiError(503, 'off', 'history_off'), t)).toBe('errors.historyOff|off')
    expect(explain(new ApiError(503, 'soon', 'loading'), t)).toBe('errors.loading|soon')
    expect(explain(new Error('odd'), t)).toBe('errors.other|odd')
    expect(explainServer({ message: 'm', type: 't', code: 'context_length_exceeded' }, t)).toBe('errors.context|m')
  })
})

describe('what is kept', () => {
  it('comes back, and goes', () => {
    save('k', { a: ['舢板'] })
    expect(load('k', null)).toEqual({ a: ['舢板'] })
    save('k', undefined)
    expect(load('k', 'none')).toBe('none')
  })
  it('may be broken', () => {
    localStorage.setItem('k', '{')
    expect(load('k', 7)).toBe(7)
  })
  it('lasts for the tab where storage is off', () => {
    const off = () => {
      throw new Error('denied')
    }
    const real = Object.getOwnPropertyDescriptor(globalThis, 'localStorage')
    Object.defineProperty(globalThis, 'localStorage', { configurable: true, value: { getItem: off, setItem: off, removeItem: off } })
    save('k', 1)
    expect(load('k', 0)).toBe(1)
    Object.defineProperty(globalThis, 'localStorage', real as PropertyDescriptor)
  })
})
