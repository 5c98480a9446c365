/** Keys: the composer's, which must leave input methods alone, and the page's shortcuts. */

/** A key that chooses or ends a candidate of an input method; Safari ends the composition before it tells the key (229). */
export function composing(event: KeyboardEvent): boolean {
  return event.isComposing || event.keyCode === 229
}

export type SendKey = 'enter' | 'mod-enter'

export function sends(event: KeyboardEvent, key: SendKey): boolean {
  if (event.key !== 'Enter' || composing(event)) return false
  if (key === 'enter') return !event.shiftKey && !event.altKey && !event.ctrlKey && !event.metaKey
  return event.ctrlKey || event.metaKey
}

export const isMac = typeof navigator !== 'undefined' && /Mac|iPhone|iPad/.test(navigator.platform)

export interface Shortcut {
  name: string
  /** As KeyboardEvent.key says it, lower case; "mod" is ⌘ on a Mac and Ctrl elsewhere. */
  keys: string[]
  /** Goes while a text field has the focus too. */
  inFields?: boolean
}

export const SHORTCUTS = [
  { name: 'newChat', keys: ['mod', 'shift', 'o'], inFields: true },
  { name: 'search', keys: ['mod', 'k'], inFields: true },
  { name: 'focus', keys: ['/'] },
  { name: 'stop', keys: ['escape'], inFields: true },
  { name: 'regenerate', keys: ['alt', 'r'], inFields: true },
  { name: 'editLast', keys: ['alt', 'e'], inFields: true },
  { name: 'copyLast', keys: ['mod', 'shift', 'y'], inFields: true },
  { name: 'previous', keys: ['alt', 'arrowup'], inFields: true },
  { name: 'next', keys: ['alt', 'arrowdown'], inFields: true },
  { name: 'sidebar', keys: ['mod', 'b'], inFields: true },
  { name: 'panel', keys: ['mod', '.'], inFields: true },
  { name: 'help', keys: ['?'] },
] as const satisfies readonly Shortcut[]
export type ShortcutName = (typeof SHORTCUTS)[number]['name']

function inField(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
}

/** Which shortcut a key press is, if any. */
export function shortcutOf(event: KeyboardEvent): ShortcutName | null {
  if (composing(event)) return null
  const mod = isMac ? event.metaKey : event.ctrlKey
  for (const shortcut of SHORTCUTS) {
    const keys: readonly string[] = shortcut.keys
    const key = keys.at(-1) as string
    const pressed = event.altKey && event.code.startsWith('Key') ? event.code.slice(3).toLowerCase() : event.key.toLowerCase()
    if (pressed !== key || mod !== keys.includes('mod') || event.altKey !== keys.includes('alt')) continue
    if (key !== '?' && event.shiftKey !== keys.includes('shift')) continue
    if (!('inFields' in shortcut) && inField(event.target)) continue
    return shortcut.name
  }
  return null
}

const SHOWN: Record<string, string> = { escape: 'Esc', arrowup: '↑', arrowdown: '↓', shift: isMac ? '⇧' : 'Shift', alt: isMac ? '⌥' : 'Alt', mod: isMac ? '⌘' : 'Ctrl' }

export function shownKeys(keys: readonly string[]): string[] {
  return keys.map((key) => SHOWN[key] ?? key.toUpperCase())
}
