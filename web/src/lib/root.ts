/**
 * Where the page lies: "/", or what a proxy puts before it ("/llm/"). The server names only the first script in its
 * index; everything else follows from where that one came from.
 */
export function rootOf(script: string): string {
  const path = new URL(script, 'http://localhost/').pathname
  const at = path.lastIndexOf('/assets/')
  return at < 0 ? '/' : path.slice(0, at + 1)
}

export const root = rootOf(import.meta.url)

/** A path of the server ("/api/info") as this page has to ask for it. */
export const at = (path: string): string => root + path.slice(1)
