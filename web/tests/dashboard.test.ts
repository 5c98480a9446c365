import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { EventStream } from '../src/api/source'
import type { EndedRequest, Job, ServerEvent, ServerState, Stats, StoredModel } from '../src/api/types'
import { tellHearers } from '../src/lib/bus'
import { bytesText, ceiling, clockText } from '../src/lib/figures'
import { Pace } from '../src/lib/pace'
import { useDashboard } from '../src/stores/dashboard'
import { useModels } from '../src/stores/models'

let answers: Record<string, () => unknown> = {}
let asked: string[] = []
beforeEach(() => {
  setActivePinia(createPinia())
  asked = []
  answers = {}
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    const call = `${init.method ?? 'GET'} ${path}`
    asked.push(call)
    const found = answers[call]
    return found
      ? new Response(JSON.stringify(found()), { status: 200, headers: { 'content-type': 'application/json' } })
      : new Response('{"error":{"message":"no","code":"not_allowed"}}', { status: 403, headers: { 'content-type': 'application/json' } })
  })
})
const settle = (ms = 5) => new Promise((resolve) => setTimeout(resolve, ms))

describe('figures', () => {
  it('tell bytes as people read them', () => {
    expect([0, 999, 1000, 491_400_000, 999_600, 1_234_000_000, 12_340_000_000, 340e9].map(bytesText)).toEqual(['0 B', '999 B', '1 KB', '491 MB', '1 MB', '1.23 GB', '12.3 GB', '340 GB'])
  })
  it('tell times', () => {
    expect([0, 7.9, 67, 7390, -3].map(clockText)).toEqual(['0:00', '0:07', '1:07', '2:03:10', '0:00'])
  })
  it('end a chart at a round number', () => {
    expect([0, 0.3, 1, 7, 42, 100, 101].map(ceiling)).toEqual([1, 0.5, 1, 10, 50, 100, 200])
  })
})

describe('the speed of an answer', () => {
  it('is that of the last seconds', () => {
    const pace = new Pace()
    const shown: number[] = []
    for (let ms = 0, tokens = 1; ms <= 20_000; ms += 50, tokens += ms < 10_000 ? 1 : 2) {
      const figure = pace.add(tokens, ms)
      if (figure !== null) shown.push(figure)
    }
    expect(shown[0]).toBeCloseTo(20, 0)
    expect(shown.at(-1)).toBeCloseTo(40, 0)
    expect(shown.length).toBeLessThan(90) // four a second at most
  })
  it('is not that of what was missed and comes at once', () => {
    const pace = new Pace()
    let last: number | null = null
    for (let i = 0; i < 500; i++) expect(pace.add(i, 0)).toBeNull()
    for (let ms = 0, tokens = 500; ms <= 3000; ms += 100, tokens += 2) last = pace.add(tokens, ms) ?? last
    expect(last).toBeCloseTo(20, 0)
  })
})

const ended = (number: number): EndedRequest => ({
  number, ended: 1, id: `r${number}`, model: 'm', endpoint: '/v1/completions', state: 'complete', error: null, prompt_tokens: 1, cached_tokens: 0, answer_tokens: 1,
  status: 200, total_seconds: 1, queue_seconds: 0, first_token_seconds: 1, tokens_per_second: 1, key: null, chat: null,
})
const stats = (at: number, more: Partial<Stats> = {}): Stats => ({
  at, running: 1, waiting: 0, waiting_for_model: 2, tokens_in_per_second: 3, tokens_out_per_second: at, pages: 10, pages_used: 4, prefix_queries: 0, prefix_hits: 0,
  resident_bytes: 5, memory_used_bytes: 0, memory_limit_bytes: 0, machine_free_bytes: 0, connections: 1, models: [], requests: [], requests_left_out: 0, ...more,
})
const state = (): ServerState => ({
  version: '1', loading: false, draining: false, uptime_seconds: 1, compute: null, queue_most: 1, machine: { cpu: '', cores: 1, memory_bytes: 1, memory_free_bytes: 1 },
  now: stats(1), ended: [ended(1), ended(2)],
  history: { seconds: 5, tokens_in_per_second: [1, 1], tokens_out_per_second: [1, 2], running: [0, 0], waiting: [0, 0], pages_used: [0, 0], resident_bytes: [1, 1] },
})

describe('the dashboard', () => {
  it('goes on from what it read, and keeps no more than it shows', async () => {
    answers['GET /api/server'] = state
    const dashboard = useDashboard()
    await dashboard.read()
    expect(dashboard.ended.map((r) => r.number)).toEqual([2, 1])
    for (let at = 3; at < 12; at++) dashboard.apply({ type: 'stats', data: stats(at, { ended: at === 3 ? [ended(2), ended(3)] : [] }) })
    expect(dashboard.series.out).toEqual([7, 8, 9, 10, 11])
    expect(dashboard.series.waiting).toEqual([2, 2, 2, 2, 2])
    expect(dashboard.ended.map((r) => r.number)).toEqual([3, 2, 1])
    expect(dashboard.now?.at).toBe(11)
  })
  it('watches while it is shown, and reads again when the stream begins anew', async () => {
    answers['GET /api/server'] = state
    const dashboard = useDashboard()
    const stop = dashboard.watch()
    await settle()
    tellHearers({ type: 'stats', data: stats(3) })
    expect(dashboard.now?.at).toBe(3)
    tellHearers({ type: 'hello', data: { last: 1 } })
    await settle()
    expect(asked.length).toBe(2)
    stop()
    tellHearers({ type: 'stats', data: stats(4) })
    expect(dashboard.now?.at).toBe(1)
  })
  it('says why it can’t be read', async () => {
    const dashboard = useDashboard()
    await dashboard.read()
    expect(String(dashboard.failure)).toContain('no')
  })
})

describe('the stream', () => {
  class Source {
    static made: Source[] = []
    closed = false
    onopen = () => undefined
    onerror = () => undefined
    heard = new Map<string, (event: { data: string; lastEventId: string }) => void>()
    constructor(readonly url: string) {
      Source.made.push(this)
    }
    addEventListener(name: string, f: (event: { data: string; lastEventId: string }) => void) {
      this.heard.set(name, f)
    }
    close() {
      this.closed = true
    }
  }
  it('asks for numbers where it was, and leaves them again', () => {
    Source.made = []
    vi.stubGlobal('EventSource', Source)
    const events: ServerEvent[] = []
    const stream = new EventStream('/api/events', { event: (event) => events.push(event), connection: () => undefined })
    stream.wantStats(true)
    expect(Source.made).toEqual([])
    stream.open()
    Source.made[0]?.heard.get('hello')?.({ data: '{"last":41}', lastEventId: '41' })
    Source.made[0]?.heard.get('chat')?.({ data: '{}', lastEventId: '42' })
    Source.made[0]?.heard.get('stats')?.({ data: '{"at":1}', lastEventId: '42' })
    stream.wantStats(true)
    stream.wantStats(false)
    expect(Source.made.map((s) => s.url)).toEqual(['/api/events?stats=1', '/api/events?last=42'])
    expect(Source.made[0]?.closed).toBe(true)
    expect(events.map((event) => event.type)).toEqual(['hello', 'chat', 'stats'])
  })
})

const model = (name: string, more: Partial<StoredModel> = {}): StoredModel => ({
  name, path: `/${name}`, stored: true, bytes: 1, packed_bytes: 0, source: null, commit: null, license: null, pulled: 1, id: name, state: 'unloaded', aliases: [], added: false,
  memory_bytes: 0, context: null, requests: 0, waiting: 0, error: null, progress: null, need_bytes: 60, fit: 'fits', ...more,
})
const list = (...data: StoredModel[]) => ({
  data, catalogue: [], best: 'x', store: { path: '/', free_bytes: 1 }, memory: { total_bytes: 100, free_bytes: 100, limit_bytes: 100, used_bytes: 0 },
})
const job = (id: string, state: Job['state']): Job =>
  ({ id, kind: 'pull', title: id, state, progress: { done: 0, total: 1, unit: 'bytes' }, rate: null, eta_s: null, params: { spec: id }, result: null, error: null, resumable: true }) as unknown as Job

describe('models', () => {
  it('show the progress of a load, and are read again when it is over', async () => {
    answers['GET /api/models'] = () => list(model('a'))
    const models = useModels()
    await models.read()
    models.apply({ type: 'model', data: { id: 'a', state: 'loading', progress: 0.5 } })
    expect([models.stored[0]?.state, models.stored[0]?.progress]).toEqual(['loading', 0.5])
    expect(asked.length).toBe(1)
    answers['GET /api/models'] = () => list(model('a', { state: 'loaded', memory_bytes: 50 }))
    models.apply({ type: 'model', data: { id: 'a', state: 'loaded' } })
    models.apply({ type: 'model', data: { id: 'b', state: 'loaded' } })
    await settle(400)
    expect(asked.length).toBe(2)
    expect(models.stored[0]?.state).toBe('loaded')
  })
  it('know which fit into memory together', async () => {
    answers['GET /api/models'] = () => list(model('a'), model('b'), model('c', { memory_bytes: 30, aliases: ['see'] }), model('d', { need_bytes: null }))
    const models = useModels()
    expect(models.together(['a', 'b'])).toBeNull()
    await models.read()
    expect([models.together(['a', 'b']), models.together(['a', 'see']), models.together(['a', 'a']), models.together(['a', 'd'])]).toEqual([false, true, true, null])
  })
  it('keep pulls that have not ended, and are read again when one is done', async () => {
    answers['GET /api/models'] = () => list()
    const models = useModels()
    models.apply({ type: 'job', data: job('x', 'running') })
    models.apply({ type: 'job', data: { ...job('y', 'running'), kind: 'translate' } as Job })
    models.apply({ type: 'job', data: job('z', 'failed') })
    expect(models.live.map((one) => one.id)).toEqual(['z', 'x'])
    expect(models.pullOf('x')?.id).toBe('x')
    models.apply({ type: 'job', data: job('x', 'done') })
    expect(models.live.map((one) => one.id)).toEqual(['z'])
    await settle(400)
    expect(asked).toEqual(['GET /api/models'])
  })
  it('believe an event more than the answer to a call that was made before it', async () => {
    answers['GET /api/models'] = () => list()
    const models = useModels()
    answers['POST /api/jobs'] = () => {
      models.apply({ type: 'job', data: job('x', 'running') })
      models.apply({ type: 'job', data: job('x', 'done') })
      return job('x', 'queued')
    }
    await models.pull('hf:a/b')
    expect(models.pulls.map((one) => one.state)).toEqual(['done'])
    answers['POST /api/jobs/x/resume'] = () => {
      models.apply({ type: 'job', data: job('x', 'failed') })
      return job('x', 'queued')
    }
    await models.jobDo(job('x', 'done'), 'resume')
    expect(models.pulls.map((one) => one.state)).toEqual(['failed'])
    answers['POST /api/jobs/x/cancel'] = () => job('x', 'cancelled')
    await models.jobDo(job('x', 'failed'), 'cancel')
    expect(models.pulls.map((one) => one.state)).toEqual(['cancelled'])
  })
  it('say what is under way with one, and no longer when it failed', async () => {
    answers['GET /api/models'] = () => list(model('a'))
    const models = useModels()
    const load = models.act('a', 'load')
    expect(models.busy.get('a')).toBe('load')
    await expect(load).rejects.toThrow('no')
    expect(models.busy.size).toBe(0)
  })
})
