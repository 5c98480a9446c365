import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { rootOf } from '../src/lib/root'
import { type Call, fenced, LANGUAGES, shellQuoted, snippetOf } from '../src/lib/snippets'
import { useAccount } from '../src/stores/account'
import { useChats } from '../src/stores/chats'
import { useKeys } from '../src/stores/keys'

type Given = { status: number; body?: unknown; retry?: number }
let asked: { method: string; path: string; body: unknown }[] = []
let answer: (method: string, path: string) => Given

beforeEach(() => {
  setActivePinia(createPinia())
  localStorage.clear()
  asked = []
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    const method = init.method ?? 'GET'
    asked.push({ method, path, body: init.body ? JSON.parse(String(init.body)) : null })
    const given = answer(method, path)
    return new Response(given.status === 204 ? null : JSON.stringify(given.body), {
      status: given.status,
      headers: { 'content-type': 'application/json', ...(given.retry ? { 'retry-after': String(given.retry) } : {}) },
    })
  })
})
const session = (state: string, name?: string) => ({ state, account: name ? { name, created: 1, sessions: 1 } : null })
const refuse = (status: number, code: string, retry?: number): Given => ({ status, body: { error: { message: code, type: 'x', code } }, ...(retry ? { retry } : {}) })
const settle = () => new Promise((resolve) => setTimeout(resolve, 5))

describe('the root of the page', () => {
  it('is where the scripts come from', () => {
    expect(rootOf('http://h/assets/index-1.js')).toBe('/')
    expect(rootOf('https://h/llm/assets/index-1.js')).toBe('/llm/')
    expect(rootOf('https://h/assets/assets/index-1.js')).toBe('/assets/')
    expect(rootOf('http://localhost:5173/src/lib/root.ts')).toBe('/')
  })
})

describe('signing in', () => {
  it('shows the gate when a call finds nobody signed in', async () => {
    answer = (_, path) => (path === '/api/session' ? { status: 200, body: session('open') } : { status: 200, body: { data: [], next: null } })
    const account = useAccount()
    await account.load()
    expect(account.open).toBe(true)
    answer = (_, path) => (path === '/api/session' ? { status: 200, body: session('sign_in') } : refuse(401, 'sign_in_needed'))
    await useChats().first()
    await settle()
    expect([account.gate, account.open]).toEqual(['sign_in', false])
  })
  it('sends name and password, waits while another is signing in, and keeps no secret', async () => {
    let tries = 0
    answer = () => (tries++ ? { status: 200, body: session('signed_in', 'alice') } : refuse(503, 'busy', 0.01))
    const account = useAccount()
    await account.signIn('alice', 'correct horse')
    expect(asked.map(({ method, path, body }) => [method, path, body])).toEqual(Array(2).fill(['POST', '/api/session', { name: 'alice', password: 'correct horse' }]))
    expect([account.account?.name, account.gate]).toEqual(['alice', null])
    expect(JSON.stringify({ ...localStorage })).not.toContain('horse')
  })
  it('stays where it is when the password is wrong', async () => {
    answer = () => refuse(401, 'wrong_password')
    const account = useAccount()
    await expect(account.signIn('alice', 'x')).rejects.toMatchObject({ code: 'wrong_password' })
    expect(asked).toHaveLength(1)
  })
  it('takes away what was written when somebody signs out, but for the settings', async () => {
    answer = () => ({ status: 204 })
    localStorage.setItem('sampan.settings', '{"theme":"dark"}')
    localStorage.setItem('sampan.draft.new', '"a secret"')
    localStorage.setItem('other', 'theirs')
    await useAccount().signOut(true)
    expect(asked[0]?.path).toBe('/api/session?all=1')
    expect({ ...localStorage }).toEqual({ 'sampan.settings': '{"theme":"dark"}', other: 'theirs' })
  })
})

describe('keys', () => {
  const key = (id: string | null, name: string) => ({ id, name, source: id ? 'page' : 'file', models: null })
  it('are told apart, and the first one is announced', async () => {
    const account = { data: [key('k_1', 'mine'), key(null, 'theirs')], checked: true, forced: false }
    answer = () => ({ status: 200, body: { data: [], checked: false, forced: false } })
    const keys = useKeys()
    await keys.load()
    expect([keys.first, keys.mayOpen]).toEqual([true, false])
    answer = (method) => (method === 'POST' ? { status: 201, body: { ...key('k_1', 'mine'), secret: 's' } } : { status: 200, body: account })
    expect((await keys.make({ name: 'mine' })).secret).toBe('s')
    expect([keys.first, keys.mine.map((k) => k.name), keys.others.map((k) => k.name), keys.mayOpen]).toEqual([false, ['mine'], ['theirs'], false])
    answer = (method) => (method === 'DELETE' ? { status: 204 } : { status: 200, body: { ...account, data: [] } })
    await keys.revoke('k_1')
    expect([keys.mine, keys.mayOpen]).toEqual([[], true])
    expect(JSON.stringify(keys.list)).not.toContain('secret')
  })
})

describe('requests for programs', () => {
  const hostile = 'It\'s "x" `rm -rf ~` $(id) ${y} \\ \u2028 </script>\n```\nEOF\n👩‍🔬'
  const call: Call = {
    base: 'https://h/llm/v1', model: 'm', system: 'Be brief', messages: [{ role: 'user', content: hostile }], params: { temperature: 0.5, top_k: 7 }, stream: true,
  }
  it('hold what the chat holds', () => {
    const curl = snippetOf('curl', call)
    const body = /-d '(.*)'\n$/s.exec(curl)?.[1]?.replaceAll(`'\\''`, "'")
    expect(JSON.parse(body as string)).toEqual({
      model: 'm', messages: [{ role: 'system', content: 'Be brief' }, ...call.messages], temperature: 0.5, top_k: 7, stream: true,
    })
    expect(curl).toContain('https://h/llm/v1/chat/completions')
    expect(curl).toContain('$SAMPAN_API_KEY"')
    expect(snippetOf('python', call)).toContain('extra_body={\n      "top_k": 7\n    },')
    expect(snippetOf('javascript', call)).toContain('for await')
    for (const language of LANGUAGES) expect(snippetOf(language, { ...call, stream: false })).not.toMatch(/stream/)
  })
  it('let nothing out of its quotes', () => {
    expect(shellQuoted("a'b")).toBe(`'a'\\''b'`)
    for (const language of LANGUAGES) {
      const code = snippetOf(language, call)
      const text = fenced(code, language)
      const fence = /^`+/.exec(text)?.[0] as string
      expect(text.split('\n').filter((line) => line.startsWith(fence))).toHaveLength(2)
      expect(text.endsWith(`${fence}\n`)).toBe(true)
    }
  })
})
