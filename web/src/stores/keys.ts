import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'
import { api } from '../api/client'
import type { ApiKey, KeyList, NewKey } from '../api/types'

/** API keys: those made here, and those of the server's settings. */
export const useKeys = defineStore('keys', () => {
  const list = shallowRef<KeyList | null>(null)
  const failed = ref(false)
  const mine = computed<ApiKey[]>(() => (list.value?.data ?? []).filter((key) => key.id !== null))
  const others = computed<ApiKey[]>(() => (list.value?.data ?? []).filter((key) => key.id === null))
  /** The next key that is made makes the API ask for one. */
  const first = computed(() => list.value !== null && !list.value.checked)
  /** Nothing but the page's own switch asks for keys, and there is none. */
  const mayOpen = computed(() => list.value !== null && list.value.checked && !list.value.forced && !mine.value.length)

  async function load(): Promise<void> {
    try {
      list.value = await api.keys()
      failed.value = false
    } catch {
      failed.value = true
    }
  }
  async function make(key: NewKey): Promise<ApiKey> {
    const made = await api.makeKey(key)
    await load()
    return made
  }
  async function revoke(id: string): Promise<void> {
    await api.revokeKey(id)
    await load()
  }
  async function openToAll(): Promise<void> {
    await api.checkKeys(false)
    await load()
  }

  return { list, failed, mine, others, first, mayOpen, load, make, revoke, openToAll }
})
