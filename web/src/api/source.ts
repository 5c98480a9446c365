/**
 * One stream of the server's events that comes back by itself: after a loss it goes on from the last event it saw.
 * Used in the SharedWorker, and in the page where there is none.
 */
import type { ServerEvent } from './types'

export type Connection = 'connecting' | 'online' | 'offline'
export interface Sink {
  event(event: ServerEvent): void
  connection(state: Connection): void
}

const NAMES = [
  'hello', 'message', 'delta', 'progress', 'chat', 'chat_deleted', 'job', 'job_deleted', 'job_part', 'job_delta', 'template', 'template_deleted', 'model', 'stats', 'reset',
] as const
const WAITS = [250, 500, 1000, 2000, 4000] // ms between tries

export class EventStream {
  state: Connection = 'connecting'
  private source: EventSource | null = null
  private last: string | null = null
  private failures = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private stats = false

  constructor(
    private readonly url: string,
    private readonly sink: Sink,
  ) {}

  open(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.source?.close()
    const source = new EventSource(this.address())
    this.source = source
    source.onopen = () => {
      this.failures = 0
      this.become('online')
    }
    source.onerror = () => this.lost(source)
    for (const name of NAMES) source.addEventListener(name, (event) => this.take(name, event as MessageEvent<string>))
  }

  /** The page was asleep, or someone asked: don't wait for the next try. */
  kick(): void {
    if (this.timer !== undefined) this.open()
  }

  /** With the server's numbers once a second, or without. The stream begins anew, where it was. */
  wantStats(on: boolean): void {
    if (on === this.stats) return
    this.stats = on
    if (this.source) this.open()
  }

  close(): void {
    clearTimeout(this.timer)
    this.source?.close()
    this.source = null
  }

  private address(): string {
    const query = new URLSearchParams()
    if (this.last !== null) query.set('last', this.last)
    if (this.stats) query.set('stats', '1')
    return query.size ? `${this.url}?${query}` : this.url
  }

  private take(type: (typeof NAMES)[number], event: MessageEvent<string>): void {
    const data = JSON.parse(event.data) as unknown
    if (type === 'hello') this.last ??= String((data as { last: number | string }).last)
    else if (event.lastEventId) this.last = event.lastEventId
    this.sink.event({ type, data } as ServerEvent)
  }

  // The browser would try again by itself, but not after an answer that is no stream (503 while a model loads).
  private lost(source: EventSource): void {
    if (source !== this.source) return
    source.close()
    this.become('offline')
    const wait = WAITS[Math.min(this.failures++, WAITS.length - 1)]
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.open(), wait)
  }

  private become(state: Connection): void {
    if (state === this.state) return
    this.state = state
    this.sink.connection(state)
  }
}
