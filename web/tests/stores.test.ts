import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { Chat, Message } from '../src/api/types'
import { useChats } from '../src/stores/chats'
import { useConversations } from '../src/stores/conversations'
import { useServer } from '../src/stores/server'

/** Answers the store's calls; the network and the server can be made to fail, as they do. */
type Answer = { status: number; body: unknown } | 'network'
let asked: { method: string; path: string; body: Record<string, unknown> }[] = []
let answer: (method: string, path: string, body: Record<string, unknown>) => Answer | Promise<Answer>

const chat = (id: string, more: Partial<Chat> = {}): Chat => ({
  id, title: id, folder: null, pinned: false, model: null, system: '', params: {}, head: null, created: 1, updated: 1, deleted: null, messages_count: 0, ...more,
})
const message = (id: string, parent: string | null, more: Partial<Message> = {}): Message => ({
  id, chat: 'c_1', parent, role: 'user', content: '', reasoning: '', state: 'complete', error: null, model: null, finish_reason: null, usage: null, timings: null, created: 1,
  ...more,
})
const ok = (body: unknown, status = 200): Answer => ({ status, body })
const refuse = (status: number, text: string): Answer => ({ status, body: { error: { message: text, type: 'server_error', code: null } } })

beforeEach(() => {
  setActivePinia(createPinia())
  localStorage.clear()
  asked = []
  answer = () => refuse(500, 'not expected')
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    const call = { method: init.method ?? 'GET', path, body: init.body ? (JSON.parse(String(init.body)) as Record<string, unknown>) : {} }
    asked.push(call)
    const given = await answer(call.method, call.path, call.body)
    if (given === 'network') throw new TypeError('Failed to fetch')
    return new Response(JSON.stringify(given.body), { status: given.status, headers: { 'content-type': 'application/json' } })
  })
  vi.stubGlobal('requestAnimationFrame', (f: () => void) => setTimeout(f, 0))
})
const settle = (ms = 5) => new Promise((resolve) => setTimeout(resolve, ms))

describe('models to choose from', () => {
  it('are there once, under another name only if that one is chosen', () => {
    const server = useServer()
    server.info = { models: [{ id: 'a', root: 'a' }, { id: 'a-q4', root: 'a' }, { id: 'b', root: 'b' }, { id: 'old' }] } as never
    const names = (chosen?: string) => server.choices(chosen).map((model) => model.id)
    expect(names()).toEqual(['a', 'b', 'old'])
    expect(names('b')).toEqual(['a', 'b', 'old'])
    expect(names('a-q4')).toEqual(['a-q4', 'b', 'old'])
    expect(names('gone')).toEqual(['a', 'b', 'old'])
  })
})

describe('the list', () => {
  it('pages, newest first, pinned ones apart', async () => {
    answer = (_, path) =>
      path.includes('pinned=1')
        ? ok({ data: [chat('p', { pinned: true, updated: 1 })], next: null })
        : path.includes('cursor=two')
          ? ok({ data: [chat('c', { updated: 7 })], next: null })
          : ok({ data: [chat('a', { updated: 9 }), chat('b', { updated: 8 })], next: 'two' })
    const chats = useChats()
    await chats.first()
    expect(chats.pinned.map((c) => c.id)).toEqual(['p'])
    expect(chats.others.map((c) => c.id)).toEqual(['a', 'b'])
    await chats.more()
    expect(chats.others.map((c) => c.id)).toEqual(['a', 'b', 'c'])
    expect(chats.complete).toBe(true)
  })
  it('keeps a chat opened by its address out of the pages that are not read yet', async () => {
    answer = (_, path) => ok(path.includes('pinned=1') ? { data: [], next: null } : { data: [chat('a', { updated: 9 })], next: 'more' })
    const chats = useChats()
    await chats.first()
    chats.put(chat('old', { updated: 1 }))
    expect(chats.others.map((c) => c.id)).toEqual(['a'])
    chats.put(chat('old', { updated: 10 }))
    expect(chats.others.map((c) => c.id)).toEqual(['old', 'a'])
  })
  it('puts back what the server refuses', async () => {
    const chats = useChats()
    chats.put(chat('a', { title: 'before' }))
    answer = () => refuse(500, 'no')
    const change = chats.change('a', { title: 'after' })
    expect(chats.known.get('a')?.title).toBe('after')
    await expect(change).rejects.toThrow('no')
    expect(chats.known.get('a')?.title).toBe('before')
  })
  it('deletes at once and brings back', async () => {
    const chats = useChats()
    chats.complete = true
    chats.put(chat('a'))
    answer = (method) => ok(method === 'DELETE' ? {} : chat('a'))
    await chats.remove('a')
    expect(chats.others).toEqual([])
    await chats.restore('a')
    expect(chats.others.map((c) => c.id)).toEqual(['a'])
  })
  it('shows the hits of the last search only', async () => {
    const chats = useChats()
    answer = async (_, path) => {
      const slow = path.includes('q=a&') || path.includes('q=a') && !path.includes('q=ab')
      await settle(slow ? 20 : 1)
      return ok({ data: [chat(slow ? 'wrong' : 'right')], next: null })
    }
    await Promise.all([chats.search('a'), chats.search('ab')])
    expect(chats.hits.map((c) => c.id)).toEqual(['right'])
  })
})

describe('a chat that is read', () => {
  const streaming = message('m_a', 'm_q', { role: 'assistant', state: 'streaming', content: '你' })
  const whole = () => ({ ...chat('c_1', { head: 'm_a' }), messages: [message('m_q', null, { content: 'hi' }), streaming] })
  const delta = (offset: number, text: string) => ({ type: 'delta' as const, data: { message: 'm_a', chat: 'c_1', offset, text } })

  it('goes on where the server was, with what came meanwhile', async () => {
    const conversations = useConversations()
    answer = async () => (await settle(5), ok(whole()))
    const it = conversations.conversation('c_1')
    conversations.apply(delta(0, '你好')) // overlaps what will be read
    conversations.apply(delta(6, '吗'))
    await settle(30)
    expect(it.state.value).toBe('ready')
    expect(it.tree.get('m_a')?.content).toBe('你好吗')
  })
  it('is read again when a piece is missing', async () => {
    const conversations = useConversations()
    let content = '你'
    answer = () => ok({ ...whole(), messages: [whole().messages[0], { ...streaming, content }] })
    const it = conversations.conversation('c_1')
    await settle(20)
    conversations.apply(delta(6, '吗'))
    await settle(20)
    expect(it.tree.get('m_a')?.content).toBe('你')
    content = '你好'
    await settle(500)
    expect(it.tree.get('m_a')?.content).toBe('你好吗')
    expect(asked.length).toBe(2)
  })
  it('takes the final message, and no late piece after it', async () => {
    const conversations = useConversations()
    answer = () => ok(whole())
    const it = conversations.conversation('c_1')
    await settle(20)
    conversations.apply({ type: 'message', data: { ...streaming, state: 'complete', content: '你好', finish_reason: 'stop' } })
    conversations.apply(delta(3, '好'))
    await settle(20)
    expect(it.tree.get('m_a')?.content).toBe('你好')
    expect(it.tree.get('m_a')?.state).toBe('complete')
  })
  it('is read again when the stream began after the reading: the end may have come in between', async () => {
    const conversations = useConversations()
    let ended = false
    answer = async () => {
      const now = ended ? { ...streaming, state: 'complete', content: '你好' } : streaming
      await settle(10)
      return ok({ ...whole(), messages: [whole().messages[0], now] })
    }
    const it = conversations.conversation('c_1')
    await settle(3)
    ended = true
    conversations.subscribed()
    await settle(60)
    expect(it.tree.get('m_a')?.state).toBe('complete')
  })
  it('says that it is missing', async () => {
    answer = () => refuse(404, 'no such chat')
    const it = useConversations().conversation('c_1')
    await settle(20)
    expect(it.state.value).toBe('missing')
  })
  it('does not mix chats', async () => {
    const conversations = useConversations()
    answer = (_, path) =>
      path.endsWith('c_1') ? ok(whole()) : ok({ ...chat('c_2'), messages: [{ ...streaming, id: 'm_b', chat: 'c_2', content: 'B' }] })
    const [one, two] = [conversations.conversation('c_1'), conversations.conversation('c_2')]
    await settle(20)
    conversations.apply(delta(3, '好'))
    conversations.apply({ type: 'delta', data: { message: 'm_b', chat: 'c_2', offset: 1, text: 'b' } })
    await settle(20)
    expect([one.tree.get('m_a')?.content, two.tree.get('m_b')?.content]).toEqual(['你好', 'Bb'])
  })
})

describe('stopping', () => {
  it('keeps the figures of an end that came before the answer to the call', async () => {
    const conversations = useConversations()
    const streaming = message('m_a', null, { role: 'assistant', state: 'streaming', content: 'a' })
    const figures = { usage: { prompt_tokens: 1, completion_tokens: 2 }, timings: { ttft_ms: 3, tokens_per_second: 4 } }
    answer = async (method) => {
      if (method === 'GET') return ok({ ...chat('c_1', { head: 'm_a' }), messages: [streaming] })
      conversations.apply({ type: 'message', data: { ...streaming, state: 'stopped', content: 'ab', ...figures } })
      return ok({ ...streaming, state: 'stopped' })
    }
    const it = conversations.conversation('c_1')
    await settle(20)
    const shown = it.tree.get('m_a')
    if (shown) await conversations.stop(shown)
    expect([shown?.content, shown?.timings?.tokens_per_second]).toEqual(['ab', 4])
  })
})

describe('sending', () => {
  const made = (method: string, path: string, body: Record<string, unknown>): Answer => {
    if (path.endsWith('/messages')) return ok(message(body['id'] as string, (body['parent'] as string) ?? null, { content: body['content'] as string }), 201)
    if (path.endsWith('/generate')) return ok(message(body['id'] as string, body['parent'] as string, { role: 'assistant', state: 'queued' }), 202)
    if (method === 'GET') return ok({ ...chat('c_1'), messages: [] })
    return ok(chat('c_1'))
  }

  it('shows the message and a place for the answer at once', async () => {
    const conversations = useConversations()
    answer = async (method, path, body) => (await settle(10), made(method, path, body))
    const id = await conversations.start({}, '你好')
    const it = conversations.conversation(id)
    expect(it.tree.branch(null).map((m) => [m.content, m.sending])).toEqual([['你好', true]])
    await settle(40)
    expect(it.tree.branch(null).map((m) => [m.role, m.state, m.sending])).toEqual([
      ['user', 'complete', undefined],
      ['assistant', 'queued', undefined],
    ])
  })
  it('is busy from the message to its answer, whatever comes first', async () => {
    const conversations = useConversations()
    answer = async (method, path, body) => (await settle(20), made(method, path, body))
    await conversations.start({}, '你好').then(() => settle(5))
    const sent = [...conversations.conversation('c_1').tree.all()][0]
    conversations.apply({ type: 'message', data: message(sent?.id ?? '', null, { content: '你好' }) }) // before the call returns
    expect([sent?.sending, conversations.delivering.has('c_1')]).toEqual([undefined, true])
    await settle(60)
    expect(conversations.delivering.has('c_1')).toBe(false)
  })
  it('stops the answer to a message that is still on its way', async () => {
    const conversations = useConversations()
    answer = async (method, path, body) => (await settle(20), path.endsWith('/stop') ? ok(message(path.split('/')[3] ?? '', 'm_q', { role: 'assistant', state: 'stopped' })) : made(method, path, body))
    await conversations.start({}, '你好').then(() => settle(5))
    const sent = [...conversations.conversation('c_1').tree.all()][0]
    if (sent) await conversations.stop(sent)
    await settle(100)
    const ordered = asked.find((call) => call.path.endsWith('/generate'))?.body['id'] as string
    expect(asked.at(-1)?.path).toBe(`/api/messages/${ordered}/stop`)
    expect(conversations.conversation('c_1').tree.get(ordered)?.state).toBe('stopped')
  })
  it('goes on with an answer, and believes events that come before the call returns', async () => {
    const conversations = useConversations()
    const half = message('m_a', 'm_q', { role: 'assistant', state: 'stopped', content: '一' })
    answer = async (_, path) => {
      await settle(20)
      return path.endsWith('/generate') ? ok({ ...half, state: 'queued' }, 202) : ok({ ...chat('c_1'), messages: [message('m_q', null), half] })
    }
    const it = conversations.conversation('c_1')
    await settle(40)
    const known = it.tree.get('m_a')
    if (!known) throw new Error('not read')
    const going = conversations.resume(known)
    expect([known.state, known.sending]).toEqual(['queued', true])
    conversations.apply({ type: 'message', data: { ...half, state: 'complete', content: '一二' } })
    await going
    expect([known.state, known.content, known.sending]).toEqual(['complete', '一二', undefined])
    answer = async () => (await settle(5), refuse(409, 'not now'))
    await expect(conversations.resume(known)).rejects.toThrow('not now')
    expect([known.state, known.sending]).toEqual(['complete', undefined])
  })
  it('repeats with the same ids while the server is away', async () => {
    const conversations = useConversations()
    let failures = 2
    answer = (method, path, body) => (method === 'POST' && path.endsWith('/messages') && failures-- > 0 ? 'network' : made(method, path, body))
    await conversations.start({}, 'hello')
    await settle(1300)
    const sent = asked.filter((call) => call.path.endsWith('/messages')).map((call) => call.body['id'])
    expect(sent.length).toBe(3)
    expect(new Set(sent).size).toBe(1)
    expect(localStorage.getItem('sampan.outbox')).toBe('[]')
  })
  it('keeps a message that was refused, in the outbox too, and gives its text back', async () => {
    const conversations = useConversations()
    answer = (method, path, body) => (path.endsWith('/messages') ? refuse(507, 'disk full') : made(method, path, body))
    const id = await conversations.start({}, 'precious')
    await settle(20)
    const it = conversations.conversation(id)
    const unsent = it.tree.branch(null)[0]
    expect(unsent?.unsent?.message).toBe('disk full')
    expect(localStorage.getItem('sampan.outbox')).toContain('precious')
    expect(unsent && conversations.takeBack(unsent)).toBe('precious')
    expect(it.tree.size).toBe(0)
    expect(localStorage.getItem('sampan.outbox')).toBe('[]')
  })
  it('keeps the words when the chat is gone', async () => {
    const conversations = useConversations()
    answer = (method, path, body) => (path.endsWith('/messages') ? refuse(404, 'no such chat') : made(method, path, body))
    await conversations.start({}, 'precious')
    await settle(20)
    expect(localStorage.getItem('sampan.draft.new')).toBe('"precious"')
    expect(localStorage.getItem('sampan.outbox')).toBe('[]')
  })
  it('sends after a reload what was left', async () => {
    localStorage.setItem('sampan.outbox', JSON.stringify([{ chat: 'c_1', id: 'm_x', parent: null, content: 'left', answer: 'm_y' }]))
    answer = made
    const conversations = useConversations()
    conversations.deliverAll()
    await settle(30)
    expect(asked.filter((call) => call.method === 'POST').map((call) => call.body['id'])).toEqual(['m_x', 'm_y'])
  })
  it('takes the place of the answer away when the server refuses to answer', async () => {
    const conversations = useConversations()
    answer = (method, path, body) => (path.endsWith('/generate') ? refuse(400, 'too long') : made(method, path, body))
    const it = conversations.conversation('c_1')
    await settle(20)
    await expect(conversations.say('c_1', null, 'long')).rejects.toThrow('too long')
    expect(it.tree.branch(null).map((m) => m.content)).toEqual(['long'])
  })
  it('makes a sibling of an edited message, and one of an answer asked again', async () => {
    const conversations = useConversations()
    answer = made
    const it = conversations.conversation('c_1')
    await settle(20)
    await conversations.say('c_1', null, 'first')
    await conversations.say('c_1', null, 'second')
    expect(it.tree.children(null).length).toBe(2)
    const question = it.tree.children(null)[1] as string
    await conversations.answer('c_1', question)
    expect(it.tree.children(question).length).toBe(2)
  })
})
