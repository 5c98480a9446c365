import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { sizeOf } from '../src/lib/sizes'
import { useConversations } from '../src/stores/conversations'
import { FILES_MOST, useFiles } from '../src/stores/files'
import { useServer } from '../src/stores/server'

/** XMLHttpRequests wait here until the test answers them. */
interface Sent {
  path: string
  body: File
  progress(share: number): void
  answer(status: number, body: unknown): void
  fail(): void
  aborted: boolean
}
let sent: Sent[] = []
let asked: { method: string; path: string; body: unknown }[] = []
let answers: Record<string, { status: number; body: unknown }> = {}

const entry = (id: string, more: object = {}) => ({
  id, name: `${id}.txt`, type: 'text/plain', bytes: 4, characters: 4, created: 1, model: 'm', tokens: 7, tokens_reason: null, ...more,
})
const file = (name: string, bytes = 4) => new File([new Uint8Array(bytes)], name)
const settle = (ms = 5) => new Promise((resolve) => setTimeout(resolve, ms))

beforeEach(() => {
  setActivePinia(createPinia())
  localStorage.clear()
  sent = []
  asked = []
  answers = {}
  vi.stubGlobal(
    'XMLHttpRequest',
    class {
      upload: { onprogress?: (e: object) => void; onload?: () => void } = {}
      onload?: () => void
      onerror?: () => void
      onabort?: () => void
      status = 0
      responseText = ''
      path = ''
      open(_: string, path: string) {
        this.path = path
      }
      setRequestHeader() {}
      getResponseHeader() {
        return null
      }
      mine?: Sent
      abort() {
        if (this.mine) this.mine.aborted = true
        this.onabort?.()
      }
      send(body: File) {
        this.mine = {
          path: this.path, body, aborted: false,
          progress: (share) => this.upload.onprogress?.({ lengthComputable: true, loaded: share, total: 1 }),
          answer: (status, said) => {
            this.status = status
            this.responseText = JSON.stringify(said)
            this.onload?.()
          },
          fail: () => this.onerror?.(),
        }
        sent.push(this.mine)
      }
    },
  )
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    asked.push({ method: init.method ?? 'GET', path, body: init.body ? JSON.parse(String(init.body)) : null })
    const given = answers[path] ?? { status: 404, body: { error: { message: 'no', type: 'x', code: 'not_found' } } }
    return new Response(typeof given.body === 'string' ? given.body : JSON.stringify(given.body), { status: given.status })
  })
  vi.stubGlobal('requestAnimationFrame', (f: () => void) => setTimeout(f, 0))
})
const refusal = (code: string) => ({ error: { message: `because ${code}`, type: 'invalid_request_error', code } })

describe('files', () => {
  it('go up two at a time, say how far they are, and are kept when they are there', async () => {
    const files = useFiles()
    files.add(null, [file('a'), file('b'), file('c')], 'm')
    await settle()
    expect(sent.map((s) => s.path)).toEqual(['/api/files?name=a&model=m', '/api/files?name=b&model=m'])
    sent[0]?.progress(0.5)
    expect(files.of(null).map((chip) => chip.share)).toEqual([0.5, 0, 0])
    sent[0]?.answer(201, entry('f_a'))
    await settle()
    expect(sent.length).toBe(3)
    expect(files.of(null)[0]?.entry?.tokens).toBe(7)
    // A reload: those that were there are there again.
    setActivePinia(createPinia())
    expect(useFiles().of(null).map((chip) => chip.name)).toEqual(['f_a.txt'])
  })
  it('tell why one was refused, and try it again', async () => {
    const files = useFiles()
    files.add('c_1', [file('a')], null)
    await settle()
    sent[0]?.answer(415, refusal('unsupported_file'))
    await settle()
    const chip = files.of('c_1')[0]
    expect(chip?.error?.code).toBe('unsupported_file')
    if (chip) files.again('c_1', chip, null)
    await settle()
    expect(chip?.error).toBeUndefined()
    sent[1]?.answer(201, entry('f_a'))
    await settle()
    expect(chip?.entry?.id).toBe('f_a')
  })
  it('that are too large or too many never leave', async () => {
    const server = useServer()
    server.info = { upload_bytes: 3 } as never
    const files = useFiles()
    files.add(null, [file('large', 4)], null)
    await settle()
    expect(sent).toEqual([])
    expect(files.of(null)[0]?.error?.code).toBe('file_too_large')
    files.clear(null)
    files.add(null, Array.from({ length: FILES_MOST + 1 }, (_, i) => file(`${i}`, 1)), null)
    expect(files.of(null).at(-1)?.error?.code).toBe('too_many_files')
    expect(files.of(null).at(-2)?.error).toBeUndefined()
  })
  it('that are removed are stopped, or deleted when they are there', async () => {
    const files = useFiles()
    files.add(null, [file('a'), file('b')], null)
    await settle()
    sent[1]?.answer(201, entry('f_b'))
    await settle()
    const [a, b] = files.of(null)
    if (a) files.remove(null, a)
    if (b) files.remove(null, b)
    await settle()
    expect(sent[0]?.aborted).toBe(true)
    expect(asked.map((call) => `${call.method} ${call.path}`)).toEqual(['DELETE /api/files/f_b'])
    expect(files.of(null)).toEqual([])
  })
  it('are counted again for another model; one that is gone says so', async () => {
    const files = useFiles()
    files.putBack('c_1', [entry('f_a'), entry('f_b')])
    answers['/api/files/f_a?model=other'] = { status: 200, body: entry('f_a', { model: 'other', tokens: 9 }) }
    await files.count('c_1', 'other')
    expect(files.of('c_1')[0]?.entry?.tokens).toBe(9)
    expect(files.of('c_1')[1]?.error?.code).toBe('file_gone')
    const before = asked.length
    await files.count('c_1', 'other')
    expect(asked.length).toBe(before)
  })
  it('go with the message, and come back with one that is not sent', async () => {
    const conversations = useConversations()
    answers['/api/chats/c_1'] = {
      status: 200,
      body: { id: 'c_1', title: '', folder: null, pinned: false, model: null, system: '', params: {}, head: null, created: 1, updated: 1, deleted: null, messages_count: 0, messages: [] },
    }
    answers['/api/chats/c_1/messages'] = { status: 400, body: refusal('x') }
    await conversations.say('c_1', null, 'look', [entry('f_a')])
    expect(asked.find((call) => call.path.endsWith('/messages'))?.body).toMatchObject({ content: 'look', files: ['f_a'] })
    const message = [...(conversations.open.get('c_1')?.tree.all() ?? [])][0]
    expect(message?.attachments?.[0]?.name).toBe('f_a.txt')
    if (message) expect(conversations.takeBack(message)).toBe('look')
    expect(useFiles().of('c_1').map((chip) => chip.key)).toEqual(['f_a'])
  })
})

describe('sizes', () => {
  it('are read by people', () => {
    const f = (value: number, digits: number) => value.toFixed(digits)
    expect([0, 1023, 1024, 1536, 20 << 20, 1000 << 10].map((n) => sizeOf(n, f))).toEqual(['0 B', '1023 B', '1.0 KB', '1.5 KB', '20 MB', '1.0 MB'])
  })
})
