/** The models of this machine, the catalogue, and pulls under way. */
import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'
import { api } from '../api/client'
import { tasksApi } from '../api/tasks'
import type { Job, ModelList, ServerEvent, StoredModel } from '../api/types'
import { hear } from '../lib/bus'
import { Heard } from '../lib/heard'

export type ModelAct = 'load' | 'unload' | 'sleep' | 'wake'

const PULLS_MOST = 100
const SOON = 300 // ms: several events come together

export const useModels = defineStore('models', () => {
  const list = shallowRef<ModelList | null>(null)
  const failure = ref<unknown>(null)
  const pulls = shallowRef<Job[]>([])
  const heard = new Heard()
  /** Why nothing can be pulled from here; null: it can. */
  const noPulls = ref<unknown>(null)
  /** What has been asked of a model and is not done, by its name. */
  const busy = ref(new Map<string, ModelAct | 'delete'>())
  let timer: ReturnType<typeof setTimeout> | undefined
  let run = 0

  const stored = computed<StoredModel[]>(() => list.value?.data ?? [])
  const live = computed(() => pulls.value.filter((job) => job.state !== 'done' && job.state !== 'cancelled'))

  async function read(): Promise<void> {
    const mine = ++run
    clearTimeout(timer)
    try {
      const found = await api.models()
      if (mine !== run) return
      list.value = found
      failure.value = null
    } catch (error) {
      if (mine === run) failure.value = error
    }
  }

  async function readPulls(): Promise<void> {
    try {
      pulls.value = (await tasksApi.jobs(null, PULLS_MOST, 'pull')).data
      noPulls.value = null
    } catch (error) {
      noPulls.value = error
    }
  }

  function soon(): void {
    clearTimeout(timer)
    timer = setTimeout(read, SOON)
  }

  function apply(event: ServerEvent): void {
    if (event.type === 'reset' || event.type === 'hello') {
      void read()
      void readPulls()
    } else if (event.type === 'model') patch(event.data)
    else if (event.type === 'job' && event.data.kind === 'pull') {
      heard.note(event.data.id)
      put(event.data)
    } else if (event.type === 'job_deleted') pulls.value = pulls.value.filter((job) => job.id !== event.data.id)
  }

  /** Progress is shown as it comes; another state changes what else is free, so all is read again. */
  function patch(news: { id: string; state: string; progress?: number | null }): void {
    const known = stored.value.find((model) => model.id === news.id)
    if (list.value && known && news.state === 'loading')
      list.value = {
        ...list.value,
        data: stored.value.map((model) => (model === known ? { ...model, state: 'loading', progress: news.progress ?? null } : model)),
      }
    else soon()
  }

  function put(job: Job): void {
    const known = pulls.value.some((one) => one.id === job.id)
    pulls.value = known ? pulls.value.map((one) => (one.id === job.id ? job : one)) : [job, ...pulls.value]
    if (job.state === 'done') soon()
  }

  /** The pull of a catalogue model that has not ended. */
  const pullOf = (spec: string) => live.value.find((job) => job.params['spec'] === spec)

  async function pull(spec: string, name?: string): Promise<void> {
    await heard.call(null, () => tasksApi.start({ kind: 'pull', params: { spec, ...(name ? { name } : {}) } }), put)
  }
  async function jobDo(job: Job, what: 'pause' | 'resume' | 'cancel'): Promise<void> {
    await heard.call(job.id, () => tasksApi.ask(job.id, what), put)
  }
  async function forget(job: Job): Promise<void> {
    await tasksApi.remove(job.id)
    pulls.value = pulls.value.filter((one) => one.id !== job.id)
  }

  async function act(name: string, what: ModelAct): Promise<void> {
    busy.value = new Map(busy.value).set(name, what)
    try {
      await api.modelDo(name, what)
    } finally {
      const now = new Map(busy.value)
      now.delete(name)
      busy.value = now
      await read()
    }
  }

  async function remove(name: string): Promise<number> {
    busy.value = new Map(busy.value).set(name, 'delete')
    try {
      return (await api.deleteModel(name)).freed_bytes
    } finally {
      const now = new Map(busy.value)
      now.delete(name)
      busy.value = now
      await read()
    }
  }

  /** Until the function that comes back is called. */
  function watch(): () => void {
    void read()
    void readPulls()
    const unhear = hear(apply)
    return () => {
      clearTimeout(timer)
      unhear()
    }
  }

  /** Whether models fit into memory together; null: not known. */
  function together(names: string[]): boolean | null {
    if (!list.value) return null
    let sum = 0
    for (const name of new Set(names)) {
      const model = stored.value.find((one) => one.id === name || one.aliases.includes(name))
      const bytes = model?.memory_bytes || model?.need_bytes
      if (!bytes) return null
      sum += bytes
    }
    return sum <= list.value.memory.limit_bytes
  }

  return { list, failure, stored, pulls, live, noPulls, busy, read, apply, pullOf, pull, jobDo, forget, act, remove, watch, together }
})
