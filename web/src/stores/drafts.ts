import { defineStore } from 'pinia'
import type { Params } from '../api/types'
import { load, save } from '../lib/storage'
import { reactive, watch } from 'vue'

/** What was typed and not sent, per chat; it survives a reload and a crash. */
export const useDrafts = defineStore('drafts', () => {
  const key = (chat: string | null) => `sampan.draft.${chat ?? 'new'}`
  const get = (chat: string | null) => load<string>(key(chat), '')
  const set = (chat: string | null, text: string) => save(key(chat), text || undefined)

  /** What the next chat begins with. */
  const fresh = reactive<{ model: string | null; system: string; params: Params }>(
    load('sampan.new', { model: null, system: '', params: {} }),
  )
  watch(fresh, () => save('sampan.new', fresh))
  return { get, set, fresh }
})
