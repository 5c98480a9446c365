/**
 * Files on their way into prompts, per chat (null: the chat that is to be made). What the server has taken is kept in this
 * browser until it is sent, so that a reload loses no chip; the texts stay on the server.
 */
import { defineStore } from 'pinia'
import { shallowReactive } from 'vue'
import { ApiError, api, insist } from '../api/client'
import type { Attachment, FileEntry } from '../api/types'
import { load, save } from '../lib/storage'
import { useServer } from './server'

export const FILES_MOST = 32 // of one message, as the server has it
const AT_ONCE = 2 // uploads; the server reads no more at once

export interface Chip {
  key: string
  name: string
  bytes: number
  /** How much of it is sent; 1: the server reads it. */
  share: number
  entry?: Attachment & Partial<FileEntry>
  error?: ApiError
  file?: File
  leave?: AbortController
}

/** Limits that are known here already, as the server would say them. */
const refusal = (code: string, detail: string) => new ApiError(413, detail, code)

export const useFiles = defineStore('files', () => {
  const server = useServer()
  const chips = shallowReactive(new Map<string, Chip[]>())
  const waiting: (() => Promise<void>)[] = []
  let running = 0
  let made = 0

  const place = (chat: string | null) => `sampan.files.${chat ?? 'new'}`

  function of(chat: string | null): Chip[] {
    const key = place(chat)
    const known = chips.get(key)
    if (known) return known
    return load<FileEntry[]>(key, []).map(chipOf)
  }
  const chipOf = (entry: Attachment): Chip => shallowReactive<Chip>({ key: entry.id, name: entry.name, bytes: entry.bytes, share: 1, entry })

  function set(chat: string | null, list: Chip[]): void {
    chips.set(place(chat), list)
    keep(chat)
  }
  function keep(chat: string | null): void {
    const entries = of(chat).flatMap((chip) => (chip.entry ? [chip.entry] : []))
    save(place(chat), entries.length ? entries : undefined)
  }

  function next(): void {
    while (running < AT_ONCE && waiting.length) {
      running++
      void (waiting.shift() as () => Promise<void>)().finally(() => {
        running--
        next()
      })
    }
  }

  /** The file as the server has it. Throws ApiError, or AbortError when `signal` says so. */
  function upload(file: File, options: { model?: string | null; progress?: (share: number) => void; signal?: AbortSignal } = {}): Promise<FileEntry> {
    const most = server.info?.upload_bytes
    if (most !== undefined && file.size > most) return Promise.reject(refusal('file_too_large', `${file.size} > ${most}`))
    return api.addFile(file, options.model ?? null, options.progress ?? (() => undefined), options.signal ?? new AbortController().signal)
  }

  const text = (id: string): Promise<string> => insist(() => api.fileText(id), [300, 700])

  function add(chat: string | null, list: File[], model: string | null): void {
    const there = of(chat)
    const fresh = list.map((file) => shallowReactive<Chip>({ key: `new-${made++}`, name: file.name, bytes: file.size, share: 0, file }))
    set(chat, [...there, ...fresh])
    fresh.forEach((chip, i) => {
      if (there.length + i >= FILES_MOST) chip.error = refusal('too_many_files', String(FILES_MOST))
      else again(chat, chip, model)
    })
  }

  /** Sends it, once more if need be. */
  function again(chat: string | null, chip: Chip, model: string | null): void {
    const { file } = chip
    if (!file) return
    delete chip.error
    chip.share = 0
    const leave = (chip.leave = new AbortController())
    waiting.push(async () => {
      if (leave.signal.aborted) return
      try {
        const progress = (share: number) => (chip.share = share)
        chip.entry = await insist(() => upload(file, { model, progress, signal: leave.signal }), [1000, 3000])
        delete chip.file
        if (leave.signal.aborted) void discard(chip)
        else keep(chat)
      } catch (error) {
        if (!leave.signal.aborted) chip.error = error instanceof ApiError ? error : new ApiError(-1, String(error))
      }
    })
    next()
  }

  /** One that no message has; the server would remove it by itself after a day. */
  async function discard(chip: Chip): Promise<void> {
    if (chip.entry) await api.deleteFile(chip.entry.id).catch(() => undefined)
  }

  function remove(chat: string | null, chip: Chip): void {
    chip.leave?.abort()
    set(chat, of(chat).filter((other) => other.key !== chip.key))
    void discard(chip)
  }

  /** They are a message's now. */
  function clear(chat: string | null): void {
    set(chat, [])
  }

  function putBack(chat: string | null, entries: Attachment[]): void {
    const there = new Set(of(chat).map((chip) => chip.key))
    set(chat, [...of(chat), ...entries.filter((entry) => !there.has(entry.id)).map(chipOf)])
  }

  /** How long they are for a model; one that is gone from the server says so. */
  async function count(chat: string | null, model: string | null): Promise<void> {
    const list = of(chat)
    if (!list.length) return
    if (!chips.has(place(chat))) set(chat, list)
    await Promise.all(
      list.map(async (chip) => {
        const entry = chip.entry
        if (!entry || (typeof entry.tokens === 'number' && entry.model === model)) return
        try {
          chip.entry = await api.file(entry.id, model)
        } catch (error) {
          if (!(error instanceof ApiError) || error.status !== 404 || error.code !== 'not_found') return
          delete chip.entry
          chip.error = new ApiError(404, error.message, 'file_gone')
        }
      }),
    )
    keep(chat)
  }

  return { of, upload, text, add, again, remove, clear, putBack, count }
})
