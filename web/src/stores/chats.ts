/** The list of chats: what the sidebar shows, and changes to chats as a whole. */
import { defineStore } from 'pinia'
import { computed, ref, shallowReactive, shallowRef } from 'vue'
import { api, type ChatFields } from '../api/client'
import type { Chat, Hit, Page } from '../api/types'

const PAGE = 50
const PINNED_MOST = 200

export const useChats = defineStore('chats', () => {
  /** Every chat this tab knows. */
  const known = shallowReactive(new Map<string, Chat>())
  const folder = ref<string | null>(null)
  const loading = ref(false)
  const failed = ref(false)
  const query = ref('')
  const hits = shallowRef<Hit[]>([])
  const searching = ref(false)
  const nextHits = ref<string | null>(null)

  const next = ref<string | null>(null)
  const complete = ref(false)
  /** Older chats aren't in the list yet, even if one of them was opened by its address. */
  const oldest = ref(Infinity)
  let run = 0

  const inFolder = (chat: Chat) => chat.deleted === null && (folder.value === null || chat.folder === folder.value)
  const newestFirst = (a: Chat, b: Chat) => b.updated - a.updated || (a.id < b.id ? 1 : -1)
  const pinned = computed(() => [...known.values()].filter((c) => c.pinned && inFolder(c)).sort(newestFirst))
  const others = computed(() =>
    [...known.values()].filter((c) => !c.pinned && inFolder(c) && (complete.value || c.updated >= oldest.value)).sort(newestFirst),
  )

  function put(chat: Chat): void {
    const { ...fields } = chat
    delete (fields as Partial<Hit>).snippet
    delete (fields as Partial<Hit>).message
    delete (fields as Partial<Hit>).file
    delete (fields as { messages?: unknown }).messages
    known.set(chat.id, fields)
    heard.set(chat.id, performance.now())
  }

  /** When a chat was last heard of: what is older than a request may be gone when its answer lacks it. */
  const heard = new Map<string, number>()

  /** The list from its beginning; what is shown stays until the answer is there. */
  async function first(): Promise<void> {
    const mine = ++run
    const asked = performance.now()
    loading.value = true
    try {
      const where = { folder: folder.value }
      const [top, page] = await Promise.all([api.chats({ ...where, pinned: 1, limit: PINNED_MOST }), api.chats({ ...where, pinned: 0, limit: PAGE })])
      if (mine !== run) return
      take(page)
      const there = new Set([...top.data, ...page.data].map((chat) => chat.id))
      for (const chat of [...pinned.value, ...others.value])
        if (!there.has(chat.id) && (heard.get(chat.id) ?? 0) < asked) known.delete(chat.id)
      top.data.forEach(put)
      page.data.forEach(put)
      failed.value = false
    } catch {
      if (mine === run) failed.value = true
    } finally {
      if (mine === run) loading.value = false
    }
  }

  function take(page: Page<Chat>): void {
    next.value = page.next
    complete.value = page.next === null
    oldest.value = page.data.at(-1)?.updated ?? oldest.value
  }

  async function more(): Promise<void> {
    if (loading.value || next.value === null) return
    const mine = run
    loading.value = true
    try {
      const page = await api.chats({ pinned: 0, limit: PAGE, cursor: next.value, folder: folder.value })
      if (mine !== run) return
      page.data.forEach(put)
      take(page)
      failed.value = false
    } catch {
      if (mine === run) failed.value = true
    } finally {
      if (mine === run) loading.value = false
    }
  }

  function chooseFolder(name: string | null): Promise<void> {
    folder.value = name
    return first()
  }

  let searchRun = 0
  async function search(text: string): Promise<void> {
    const mine = ++searchRun
    query.value = text
    if (!text.trim()) {
      hits.value = []
      nextHits.value = null
      searching.value = false
      return
    }
    searching.value = true
    try {
      const page = await api.chats({ q: text.trim(), limit: PAGE })
      if (mine !== searchRun) return
      hits.value = page.data
      nextHits.value = page.next
    } catch {
      if (mine === searchRun) hits.value = []
    } finally {
      if (mine === searchRun) searching.value = false
    }
  }

  async function moreHits(): Promise<void> {
    const mine = searchRun
    if (!nextHits.value || searching.value) return
    searching.value = true
    try {
      const page = await api.chats({ q: query.value.trim(), limit: PAGE, cursor: nextHits.value })
      if (mine !== searchRun) return
      hits.value = [...hits.value, ...page.data]
      nextHits.value = page.next
    } finally {
      if (mine === searchRun) searching.value = false
    }
  }

  /** Shown at once; put back if the server refuses. */
  async function change(id: string, fields: ChatFields): Promise<void> {
    const before = known.get(id)
    if (before) put({ ...before, ...fields })
    try {
      put(await api.changeChat(id, fields))
    } catch (error) {
      if (before) put(before)
      throw error
    }
  }

  async function remove(id: string): Promise<void> {
    const before = known.get(id)
    if (before) put({ ...before, deleted: Date.now() / 1000 })
    hits.value = hits.value.filter((hit) => hit.id !== id)
    try {
      await api.deleteChat(id)
    } catch (error) {
      if (before) put(before)
      throw error
    }
  }

  async function restore(id: string): Promise<void> {
    put(await api.restoreChat(id))
  }

  function gone(id: string): void {
    known.delete(id)
    hits.value = hits.value.filter((hit) => hit.id !== id)
  }

  return {
    known, folder, loading, failed, complete, pinned, others, query, hits, nextHits, searching,
    put, first, more, chooseFolder, search, moreHits, change, remove, restore, gone,
  }
})
