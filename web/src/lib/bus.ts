import type { ServerEvent } from '../api/types'
import type { ShortcutName } from './keys'

/** What the view at hand, or the frame around it, does for the others. */
export const page: {
  shortcut(name: ShortcutName): boolean
  toggleSidebar(): void
  showShortcuts(): void
  tryNow(): void
  /** The server's numbers once a second, for this tab. */
  stats(on: boolean): void
} = {
  shortcut: () => false,
  toggleSidebar: () => undefined,
  showShortcuts: () => undefined,
  tryNow: () => undefined,
  stats: () => undefined,
}

const hearers = new Set<(event: ServerEvent) => void>()
/** The server's events for a view, until the function that comes back is called. */
export function hear(hearer: (event: ServerEvent) => void): () => void {
  hearers.add(hearer)
  return () => hearers.delete(hearer)
}
export function tellHearers(event: ServerEvent): void {
  for (const hearer of hearers) hearer(event)
}
