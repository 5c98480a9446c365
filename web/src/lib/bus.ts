import type { ShortcutName } from './keys'

/** What the view at hand, or the frame around it, does for the others. */
export const page: {
  shortcut(name: ShortcutName): boolean
  toggleSidebar(): void
  showShortcuts(): void
  tryNow(): void
} = {
  shortcut: () => false,
  toggleSidebar: () => undefined,
  showShortcuts: () => undefined,
  tryNow: () => undefined,
}
