import type { ServerEvent } from '../api/types'
import type { ShortcutName } from './keys'

/** What the view at hand, or the frame around it, does for the others. */
export const page: {
  shortcut(name: ShortcutName): boolean
  toggleSidebar(): void
  showShortcuts(): void
  tryNow(): void
  /** Events of jobs and templates, for the view that shows them. */
  event(event: ServerEvent): void
} = {
  shortcut: () => false,
  toggleSidebar: () => undefined,
  showShortcuts: () => undefined,
  tryNow: () => undefined,
  event: () => undefined,
}
