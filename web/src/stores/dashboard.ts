/** The server's numbers: read once, then kept up by `stats` events for as long as somebody watches. */
import { defineStore } from 'pinia'
import { ref, shallowRef } from 'vue'
import { api } from '../api/client'
import { STATS_AGAIN } from '../api/events'
import type { EndedRequest, ServerEvent, ServerState, Stats } from '../api/types'
import { hear, page } from '../lib/bus'

const ENDED_MOST = 200

export interface Series {
  in: number[]
  out: number[]
  running: number[]
  waiting: number[]
  pages: number[]
  resident: number[]
}

export const useDashboard = defineStore('dashboard', () => {
  const state = shallowRef<ServerState | null>(null)
  const now = shallowRef<Stats | null>(null)
  const series = shallowRef<Series>({ in: [], out: [], running: [], waiting: [], pages: [], resident: [] })
  /** Newest first. */
  const ended = shallowRef<EndedRequest[]>([])
  const failure = ref<unknown>(null)
  let stop: (() => void) | null = null

  async function read(): Promise<void> {
    try {
      const found = await api.server()
      const { history } = found
      state.value = found
      now.value = found.now
      series.value = {
        in: history.tokens_in_per_second, out: history.tokens_out_per_second, running: history.running, waiting: history.waiting,
        pages: history.pages_used, resident: history.resident_bytes,
      }
      ended.value = [...found.ended].reverse()
      failure.value = null
    } catch (error) {
      failure.value = error
    }
  }

  const more = (values: number[], value: number, most: number) => [...values, value].slice(-most)

  function apply(event: ServerEvent): void {
    if (event.type === 'reset' || event.type === 'hello') return void read() // what happened meanwhile came by no event
    if (event.type !== 'stats' || !state.value) return
    const s = event.data
    const most = state.value.history.seconds
    const had = series.value
    now.value = s
    series.value = {
      in: more(had.in, s.tokens_in_per_second, most),
      out: more(had.out, s.tokens_out_per_second, most),
      running: more(had.running, s.running, most),
      waiting: more(had.waiting, s.waiting + s.waiting_for_model, most),
      pages: more(had.pages, s.pages_used, most),
      resident: more(had.resident, s.resident_bytes, most),
    }
    const newest = ended.value[0]?.number ?? 0
    const fresh = (s.ended ?? []).filter((request) => request.number > newest).reverse()
    if (fresh.length) ended.value = [...fresh, ...ended.value].slice(0, ENDED_MOST)
  }

  /** Until the function that comes back is called. A hidden tab watches nothing. */
  function watch(): () => void {
    if (stop) return stop
    const unhear = hear(apply)
    const want = () => page.stats(!document.hidden)
    const visible = () => {
      want()
      if (!document.hidden) void read()
    }
    const again = setInterval(want, STATS_AGAIN)
    document.addEventListener('visibilitychange', visible)
    want()
    void read()
    stop = () => {
      unhear()
      clearInterval(again)
      document.removeEventListener('visibilitychange', visible)
      page.stats(false)
      stop = null
    }
    return stop
  }

  return { state, now, series, ended, failure, read, apply, watch }
})
