/** The server's events in this tab: through the shared worker, or by a stream of the tab's own. */
import { at } from '../lib/root'
import { type Connection, EventStream, type Sink } from './source'
import type { ServerEvent } from './types'

export interface Events {
  /** Try now if the stream is lost. */
  kick(): void
  /** `stats` events for this tab, or none; a lease: said again every STATS_AGAIN ms while they are wanted. */
  stats(on: boolean): void
  /** Nobody is signed in: no more tries; and the end of that. All tabs of a browser are in or out together. */
  stop(): void
  start(): void
}
export const STATS_AGAIN = 20_000

function direct(sink: Sink): Events {
  const stream = new EventStream(at('/api/events'), sink)
  stream.open()
  return { kick: () => stream.kick(), stats: (on) => stream.wantStats(on), stop: () => stream.close(), start: () => stream.begin() }
}

export function listen(sink: Sink): Events {
  if (typeof SharedWorker === 'undefined') return direct(sink)
  let worker: SharedWorker
  try {
    worker = new SharedWorker(new URL('./events-worker.ts', import.meta.url), { type: 'module', name: 'sampan-events' })
  } catch {
    return direct(sink) // private windows of some browsers
  }
  let fallback: Events | null = null
  worker.onerror = () => (fallback ??= direct(sink))
  worker.port.onmessage = ({ data }: MessageEvent<{ event?: ServerEvent; connection?: Connection }>) => {
    if (data.event) sink.event(data.event)
    if (data.connection) sink.connection(data.connection)
  }
  // A tab that the browser puts aside gets nothing; what it missed it reads when it comes back.
  addEventListener('pagehide', () => worker.port.postMessage('bye'))
  addEventListener('pageshow', (event) => {
    worker.port.postMessage('hello')
    if (event.persisted) sink.event({ type: 'reset', data: {} })
  })
  return {
    kick() {
      if (fallback) fallback.kick()
      else worker.port.postMessage('kick')
    },
    stats(on) {
      if (fallback) fallback.stats(on)
      else worker.port.postMessage({ stats: on })
    },
    stop() {
      if (fallback) fallback.stop()
      else worker.port.postMessage('stop')
    },
    start() {
      if (fallback) fallback.start()
      else worker.port.postMessage('start')
    },
  }
}
