/** localStorage that may be switched off or full: then what is kept lasts as long as the tab. */

const memory = new Map<string, string>()

export function load<T>(key: string, otherwise: T): T {
  let text: string | null | undefined
  try {
    text = localStorage.getItem(key)
  } catch {
    text = memory.get(key)
  }
  try {
    return text === null || text === undefined ? otherwise : (JSON.parse(text) as T)
  } catch {
    return otherwise
  }
}

/** All that was written here; how the page looks stays. */
export function forget(): void {
  memory.clear()
  try {
    for (const key of Object.keys(localStorage)) if (key.startsWith('sampan.') && key !== 'sampan.settings') localStorage.removeItem(key)
  } catch {
    // There is no storage.
  }
}

export function save(key: string, value: unknown): void {
  const text = value === undefined ? undefined : JSON.stringify(value)
  try {
    if (text === undefined) localStorage.removeItem(key)
    else localStorage.setItem(key, text)
  } catch {
    if (text === undefined) memory.delete(key)
    else memory.set(key, text)
  }
}
