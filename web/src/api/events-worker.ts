/** One event stream for all tabs of this browser, which may open only six connections to a server. */
import { at } from '../lib/root'
import { EventStream } from './source'

const ports = new Set<MessagePort>()
const tell = (message: unknown) => {
  for (const port of ports) port.postMessage(message)
}
const stream = new EventStream(at('/api/events'), {
  event: (event) => tell({ event }),
  connection: (connection) => tell({ connection }),
})
stream.open()

const scope = self as unknown as { onconnect: (event: MessageEvent) => void }
scope.onconnect = (event) => {
  const port = event.ports[0]
  if (!port) return
  ports.add(port)
  port.onmessage = ({ data }: MessageEvent<'kick' | 'bye' | 'hello' | 'stop' | 'start'>) => {
    if (data === 'bye') ports.delete(port)
    else if (data === 'hello') ports.add(port)
    else if (data === 'stop') stream.close()
    else if (data === 'start') stream.begin()
    else stream.kick()
  }
  port.postMessage({ connection: stream.state })
}
