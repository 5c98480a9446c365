/** One event stream for all tabs of this browser, which may open only six connections to a server. */
import { at } from '../lib/root'
import { EventStream } from './source'

export type FromTab = 'kick' | 'bye' | 'hello' | 'stop' | 'start' | { stats: boolean }
/** ms: a tab that wants the server's numbers says so again within this time, or it is gone. */
export const STATS_LEASE = 60_000

const ports = new Set<MessagePort>()
const wanted = new Map<MessagePort, number>()
const tell = (message: unknown) => {
  for (const port of ports) port.postMessage(message)
}
const stream = new EventStream(at('/api/events'), {
  event: (event) => {
    if (event.type === 'stats') forget()
    tell({ event })
  },
  connection: (connection) => tell({ connection }),
})
stream.open()

/** Tabs that ended without a word want nothing any more. */
function forget(): void {
  for (const [port, since] of wanted) if (Date.now() - since > STATS_LEASE) wanted.delete(port)
  stream.wantStats(wanted.size > 0)
}
function hear(port: MessagePort, message: FromTab): void {
  if (message === 'bye') {
    ports.delete(port)
    wanted.delete(port)
  } else if (message === 'hello') ports.add(port)
  else if (message === 'kick') stream.kick()
  else if (message === 'stop') stream.close()
  else if (message === 'start') stream.begin()
  else if (message.stats) wanted.set(port, Date.now())
  else wanted.delete(port)
  forget()
}

const scope = self as unknown as { onconnect: (event: MessageEvent) => void }
scope.onconnect = (event) => {
  const port = event.ports[0]
  if (!port) return
  ports.add(port)
  port.onmessage = ({ data }: MessageEvent<FromTab>) => hear(port, data)
  port.postMessage({ connection: stream.state })
}
