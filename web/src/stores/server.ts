import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'
import { ApiError, api } from '../api/client'
import type { Connection } from '../api/source'
import type { Info, Model, ServerEvent } from '../api/types'

const AGAIN = 3000 // ms

/** What the server is and has, and whether it can be reached. */
export const useServer = defineStore('server', () => {
  const info = shallowRef<Info | null>(null)
  const connection = ref<Connection>('connecting')
  const error = shallowRef<ApiError | null>(null)
  let timer: ReturnType<typeof setTimeout> | undefined

  const models = computed<Model[]>(() => info.value?.models ?? [])
  const historyOff = computed(() => (info.value && info.value.history.state !== 'on' ? info.value.history : null))

  async function load(): Promise<void> {
    clearTimeout(timer)
    try {
      info.value = await api.info()
      error.value = null
      if (info.value.loading) timer = setTimeout(load, AGAIN)
    } catch (cause) {
      error.value = cause instanceof ApiError ? cause : new ApiError(0, String(cause))
      timer = setTimeout(load, AGAIN)
    }
  }

  /** A model that is loaded has a context now, one that is new a place in the list: then all is read again. */
  function apply(event: ServerEvent): void {
    if (event.type !== 'model' || !info.value) return
    const { id, state, progress } = event.data
    const mine = (model: Model) => model.id === id || model.root === id
    const known = models.value.find(mine)
    if (known && state !== 'deleted' && (state !== 'loaded' || known.max_model_len !== null))
      info.value = { ...info.value, models: models.value.map((model) => (mine(model) ? { ...model, state, progress: progress ?? null } : model)) }
    else void load()
  }

  function modelOf(name: string | null): Model | undefined {
    return models.value.find((model) => model.id === name) ?? models.value[0]
  }

  /** Those to choose from: each once, under another name only if that one is chosen. */
  function choices(chosen: string | null = null): Model[] {
    const chosenRoot = models.value.find((model) => model.id === chosen)?.root
    return models.value.filter((model) => model.id === chosen || ((model.root ?? model.id) === model.id && model.id !== chosenRoot))
  }

  return { info, connection, error, models, historyOff, load, apply, modelOf, choices }
})
