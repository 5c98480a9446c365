import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { Job, JobPart, Template } from '../src/api/types'
import { bare, blank, exported, fieldsFor, imported, namesOf } from '../src/lib/templates'
import { useJobs } from '../src/stores/jobs'

describe('prompts with fields', () => {
  it('name their fields, in order, each once', () => {
    expect(namesOf('To {{ name }}: {{what}}, {{name}} {{收件人}} {{}} {one}')).toEqual(['name', 'what', '收件人'])
  })
  it('keep what is known of a field, and let go of those that are gone', () => {
    const known = [{ name: 'a', type: 'choice' as const, choices: ['x'], required: false }, { name: 'gone', type: 'text' as const, required: true }]
    expect(fieldsFor('{{b}} {{a}}', known)).toEqual([{ name: 'b', type: 'text', required: true }, known[0]])
  })
})

describe('tasks as files', () => {
  const template = { ...blank(), name: 'Mail', prompt: 'To {{who}}', fields: fieldsFor('To {{who}}', []), id: 't_a', created: 1, updated: 2 } as Template
  it('come back as they went, without what the server adds', async () => {
    const back = imported(await exported([template, { ...template, name: 'Two' }]).text())
    expect(back.map((one) => one.name)).toEqual(['Mail', 'Two'])
    expect(back[0]).toEqual(JSON.parse(JSON.stringify(bare(template))))
    expect(Object.keys(back[0] ?? {})).not.toContain('id')
  })
  it('may be one by itself, with its fields read from the prompt', () => {
    expect(imported('{"name": "A", "prompt": "{{x}}"}')[0]?.fields).toEqual([{ name: 'x', type: 'text', required: true }])
  })
  it('are refused when they are something else', () => {
    for (const text of ['', '[]', '{"prompt": "x"}', '{"templates": [1]}']) expect(() => imported(text)).toThrow()
  })
})

const job = (more: Partial<Job> = {}): Job => ({
  id: 'j_1', kind: 'translate', title: 'A', state: 'running', progress: { done: 0, total: 2, unit: 'items' }, rate: null, eta_s: null, params: {}, result: null, error: null,
  created: 1, started: 1, finished: null, resumable: true, stopping: null, ...more,
})
const part = (number: number, more: Partial<JobPart> = {}): JobPart => ({
  number, source: { role: 'segment', before: '', text: `s${number}`, after: '\n' }, result: null, state: 'waiting', ...more,
})

describe('the job that is shown', () => {
  let parts: JobPart[]
  beforeEach(() => {
    setActivePinia(createPinia())
    parts = [part(0, { state: 'running', text: '长' }), part(1)]
    vi.useFakeTimers()
    vi.stubGlobal('fetch', async (path: string) =>
      new Response(JSON.stringify(path.includes('/parts') ? { data: parts, next: null } : job()), { status: 200, headers: { 'content-type': 'application/json' } }),
    )
  })
  const delta = (number: number, offset: number, text: string) => ({ type: 'job_delta', data: { job: 'j_1', number, offset, text } }) as const

  it('is as an event told while a call was under way, whatever that answers', async () => {
    const jobs = useJobs()
    await jobs.open('j_1')
    vi.stubGlobal('fetch', async () => {
      jobs.apply({ type: 'job', data: job({ state: 'paused' }) })
      return new Response(JSON.stringify(job({ stopping: 'pause' })), { status: 200, headers: { 'content-type': 'application/json' } })
    })
    await jobs.ask('j_1', 'pause')
    expect(jobs.known.get('j_1')?.state).toBe('paused')
  })
  it('grows with its deltas, each once, from where the reading was', async () => {
    const jobs = useJobs()
    await jobs.open('j_1')
    jobs.apply(delta(0, 0, '长'))
    jobs.apply(delta(0, 3, '江'))
    jobs.apply(delta(0, 3, '江'))
    jobs.apply({ type: 'job_delta', data: { job: 'j_2', number: 0, offset: 0, text: 'x' } })
    expect(jobs.text.trim()).toBe('长江')
    jobs.apply({ type: 'job_part', data: { job: 'j_1', number: 0, state: 'done', result: { text: '长江。' } } })
    jobs.apply({ type: 'job_part', data: { job: 'j_1', number: 1, state: 'running', result: null } })
    jobs.apply(delta(1, 0, 'Two'))
    expect(jobs.text).toBe('长江。\nTwo\n')
  })
  it('reads again when something was missed', async () => {
    const jobs = useJobs()
    await jobs.open('j_1')
    parts = [part(0, { state: 'running', text: '长江很' }), part(1), part(2)]
    jobs.apply(delta(0, 9, '长')) // three characters are missing
    expect(jobs.text.trim()).toBe('长')
    await vi.advanceTimersByTimeAsync(1000)
    expect(jobs.text.trim()).toBe('长江很长')
    expect(jobs.parts?.rows.size).toBe(3)
  })
  it('shows the last part of a summary alone', async () => {
    parts = [part(0, { source: { role: 'section', text: 'a' }, state: 'done', result: { text: 'note' } }), part(1, { source: { role: 'final', of: [0] }, state: 'done', result: { text: 'All.' } })]
    const jobs = useJobs()
    await jobs.open('j_1')
    expect(jobs.text).toBe('All.')
  })
  it('follows its state, and goes when it is removed', async () => {
    const jobs = useJobs()
    await jobs.open('j_1')
    jobs.apply({ type: 'job', data: job({ state: 'done' }) })
    expect(jobs.known.get('j_1')?.state).toBe('done')
    jobs.apply({ type: 'job_deleted', data: { id: 'j_1' } })
    expect(jobs.list).toEqual([])
  })
})
