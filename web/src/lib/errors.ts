import { ApiError } from '../api/client'
import type { ServerError } from '../api/types'

type Translate = (key: string, named: Record<string, unknown>) => string

/** What happened and what to do, in the reader's language; the server's own words stand beside it. */
export function explain(error: unknown, t: Translate): string {
  const api = error instanceof ApiError ? error : null
  const detail = error instanceof Error ? error.message : String(error)
  return t(`errors.${kindOf(api?.status ?? -1, api?.code ?? null)}`, { detail })
}

/** Of a file that the server could not take or read; `te` says whether there are words of ours for its code. */
export function explainFile(error: unknown, t: Translate, te: (key: string) => boolean): string {
  const key = error instanceof ApiError && error.code ? `files.why.${error.code}` : ''
  return key && te(key) ? t(key, { detail: (error as ApiError).message }) : explain(error, t)
}

/** The same for an error that a message carries. */
export function explainServer(error: ServerError, t: Translate): string {
  return t(`errors.${kindOf(-1, error.code)}`, { detail: error.message })
}

function kindOf(status: number, code: string | null): string {
  if (status === 0) return 'offline'
  if (code === 'context_length_exceeded') return 'context'
  if (code === 'insufficient_memory') return 'memory'
  if (code === 'model_load_failed') return 'loadFailed'
  if (code === 'model_in_use') return 'inUse'
  if (code === 'not_allowed') return 'notAllowed'
  if (code === 'history_full' || status === 507) return 'disk'
  if (code === 'history_off' || code === 'history_unavailable') return 'historyOff'
  if (status === 401) return 'key'
  if (status === 429) return 'busy'
  if (status === 503) return 'loading'
  return 'other'
}
