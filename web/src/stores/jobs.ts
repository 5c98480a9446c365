/** Long work and what comes of it, kept up to date by the server's events. */
import { defineStore } from 'pinia'
import { computed, ref, shallowReactive, shallowRef } from 'vue'
import { tasksApi } from '../api/tasks'
import type { Job, JobPart, ServerEvent, Template } from '../api/types'
import { Heard } from '../lib/heard'
import { Assembly } from '../lib/stream'

const PAGE = 100
const REREAD = 500 // ms

export const ended = (job: Pick<Job, 'state'>) => !['queued', 'running'].includes(job.state)

/** The parts of the job that is shown. */
export interface Parts {
  job: string
  rows: Map<number, JobPart>
  next: number | null
  loading: boolean
}

export const useJobs = defineStore('jobs', () => {
  const known = shallowReactive(new Map<string, Job>())
  const next = ref<string | null>(null)
  const loading = ref(false)
  const parts = shallowRef<Parts | null>(null)
  const templates = shallowRef<Template[]>([])
  const growing = new Map<number, Assembly>()
  const heard = new Heard()
  let timer: ReturnType<typeof setTimeout> | undefined

  /** Pulls are shown where the models are. */
  const list = computed(() => [...known.values()].filter((job) => job.kind !== 'pull').sort((a, b) => b.created - a.created))

  async function first(): Promise<void> {
    loading.value = true
    try {
      const page = await tasksApi.jobs()
      for (const id of [...known.keys()]) if (id !== parts.value?.job) known.delete(id)
      page.data.forEach((job) => known.set(job.id, job))
      next.value = page.next
    } finally {
      loading.value = false
    }
  }
  async function more(): Promise<void> {
    if (!next.value) return
    const page = await tasksApi.jobs(next.value)
    page.data.forEach((job) => known.set(job.id, job))
    next.value = page.next
  }
  async function loadTemplates(): Promise<void> {
    templates.value = await tasksApi.templates()
  }

  function put(job: Job): Job {
    known.set(job.id, job)
    return job
  }

  async function ask(id: string, what: 'pause' | 'resume' | 'cancel'): Promise<void> {
    await heard.call(id, () => tasksApi.ask(id, what), put)
  }

  // ---- the parts of one job

  function putPart(to: Parts, part: JobPart): void {
    const assembly = growing.get(part.number)
    if (part.state !== 'running') growing.delete(part.number)
    else if (assembly) assembly.read(part.text ?? '')
    else growing.set(part.number, new Assembly(part.text ?? ''))
    to.rows.set(part.number, { ...part, text: growing.get(part.number)?.text ?? '' })
  }

  async function readParts(to: Parts, from: number): Promise<void> {
    to.loading = true
    try {
      const page = await tasksApi.parts(to.job, from, PAGE)
      if (parts.value !== to) return
      page.data.forEach((part) => putPart(to, part))
      to.next = page.next
    } finally {
      to.loading = false
    }
  }

  async function open(id: string): Promise<void> {
    growing.clear()
    const to = shallowReactive<Parts>({ job: id, rows: shallowReactive(new Map()), next: null, loading: false })
    parts.value = to
    await heard.call(id, () => tasksApi.job(id), put)
    await readParts(to, 0)
  }
  function close(): void {
    parts.value = null
    growing.clear()
  }
  async function moreParts(): Promise<void> {
    const to = parts.value
    if (to && to.next !== null && !to.loading) await readParts(to, to.next)
  }
  /** What is shown of them again: a part is there that this page doesn't know, or events were missed. */
  function rereadSoon(): void {
    const to = parts.value
    if (!to || timer !== undefined) return
    timer = setTimeout(async () => {
      timer = undefined
      let from = 0
      do {
        await readParts(to, from)
        from = to.next ?? Infinity
      } while (parts.value === to && from <= to.rows.size)
    }, REREAD)
  }

  function applyPart(to: Parts, event: Extract<ServerEvent, { type: 'job_part' }>['data']): void {
    const row = to.rows.get(event.number)
    growing.delete(event.number) // it begins, or is over
    if (row) putPart(to, { ...row, state: event.state, result: event.result, text: '' })
    else if (to.next === null) rereadSoon()
  }
  function applyDelta(to: Parts, event: Extract<ServerEvent, { type: 'job_delta' }>['data']): void {
    const row = to.rows.get(event.number)
    const assembly = growing.get(event.number)
    if (!row || !assembly) return to.next === null ? rereadSoon() : undefined
    assembly.add(event.offset, event.text)
    if (assembly.hole) rereadSoon()
    to.rows.set(event.number, { ...row, text: assembly.text })
  }

  function apply(event: ServerEvent): void {
    const to = parts.value
    if (event.type === 'job') {
      heard.note(event.data.id)
      put(event.data)
    } else if (event.type === 'job_deleted') known.delete(event.data.id)
    else if (event.type === 'job_part' && to?.job === event.data.job) applyPart(to, event.data)
    else if (event.type === 'job_delta' && to?.job === event.data.job) applyDelta(to, event.data)
    else if (event.type === 'template') templates.value = [...templates.value.filter((one) => one.id !== event.data.id), event.data].sort((a, b) => a.created - b.created)
    else if (event.type === 'template_deleted') templates.value = templates.value.filter((one) => one.id !== event.data.id)
    else if (event.type === 'reset') {
      void first()
      void loadTemplates()
      if (to) {
        void heard.call(to.job, () => tasksApi.job(to.job), put)
        rereadSoon()
      }
    }
  }

  /** The whole text: the final part, or all segments in order. */
  const text = computed(() => {
    const rows = [...(parts.value?.rows.values() ?? [])].sort((a, b) => a.number - b.number)
    const final = rows.filter((row) => row.source.role === 'final')
    const shown = final.length ? final : rows.filter((row) => row.source.role === 'segment')
    return shown.map((row) => (row.source.before ?? '') + (row.result?.text ?? row.text ?? '').trim() + (row.source.after ?? '')).join('')
  })

  return { known, list, next, loading, parts, templates, text, first, more, loadTemplates, put, ask, open, close, moreParts, apply }
})
