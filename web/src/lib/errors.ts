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

/** Each code that the server sends to the page, and its words in `errors`. */
const WORDS: Record<string, string> = {
  context_length_exceeded: 'context',
  queue_full: 'busy',
  overloaded: 'busy',
  busy: 'busy',
  queue_timeout: 'waited',
  request_timeout: 'took',
  rate_limit_exceeded: 'limit',
  loading: 'loading',
  draining: 'ending',
  cancelled: 'cancelled',
  server_error: 'failed',
  invalid_request: 'refused',
  invalid_json: 'misunderstood',
  wrong_content_type: 'misunderstood',
  unsupported_parameter: 'refused',
  not_found: 'gone',
  conflict: 'conflict',
  insufficient_memory: 'memory',
  model_load_failed: 'loadFailed',
  model_in_use: 'inUse',
  model_state: 'inUse',
  model_not_found: 'noModel',
  model_unreadable: 'unreadable',
  no_store: 'noStore',
  history_full: 'disk',
  history_off: 'historyOff',
  history_unavailable: 'historyOff',
  history_busy: 'historyBusy',
  history_failed: 'historyFailed',
  jobs_full: 'jobsFull',
  jobs_unavailable: 'jobsOff',
  batch_invalid: 'batch',
  too_many_listeners: 'listeners',
  origin_not_allowed: 'address',
  host_not_allowed: 'address',
  not_allowed: 'notAllowed',
  invalid_api_key: 'key',
  key_not_for_page: 'notForPage',
  session_needed: 'signIn',
  sign_in_needed: 'signIn',
  sign_up_needed: 'signUp',
  wrong_password: 'password',
  password_length: 'passwordLength',
  wrong_code: 'code',
  code_expired: 'code',
  too_many_tries: 'tries',
}

function kindOf(status: number, code: string | null): string {
  if (status === 0) return 'offline'
  const known = code === null ? undefined : WORDS[code]
  if (known) return known
  if (status === 507) return 'disk'
  if (status === 401) return 'key'
  if (status === 429) return 'busy'
  if (status === 503) return 'loading'
  return 'other'
}
