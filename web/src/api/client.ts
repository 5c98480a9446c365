/** Calls of the page's own API. Every failure is an ApiError that says whether a later try may do better. */
import type { Chat, ChatWithMessages, Hit, ImportResult, Info, Message, ModelDetails, ModelList, Page, Params, ServerState, Setting } from './types'

export class ApiError extends Error {
  constructor(
    /** 0: no answer at all. */
    readonly status: number,
    message: string,
    readonly code: string | null = null,
    /** Seconds that the server asked to wait. */
    readonly retryAfter: number | null = null,
    /** Of a batch that can't be used: the first of its lines that can't. */
    readonly lines: { line: number; message: string }[] = [],
  ) {
    super(message)
  }

  /** The same call may go through later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  const wait = Number(response.headers.get('retry-after'))
  const retryAfter = Number.isFinite(wait) && wait > 0 ? wait : null
  try {
    const body: unknown = await response.json()
    const error = (body as { error?: { message?: unknown; code?: unknown; lines?: { line: number; message: string }[] } }).error
    if (typeof error?.message === 'string')
      return new ApiError(response.status, error.message, typeof error.code === 'string' ? error.code : null, retryAfter, error.lines ?? [])
  } catch {
    // Not JSON: a proxy's page; its status says enough.
  }
  return new ApiError(response.status, `HTTP ${response.status}`, null, retryAfter)
}

export async function send(method: string, path: string, body?: BodyInit, type = 'application/json'): Promise<Response> {
  let response: Response
  try {
    response = await fetch(path, {
      method,
      ...(body === undefined ? {} : { body, headers: { 'content-type': type } }),
      credentials: 'same-origin',
    })
  } catch (cause) {
    throw new ApiError(0, cause instanceof Error ? cause.message : String(cause))
  }
  if (!response.ok) throw await errorOf(response)
  return response
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await send(method, path, body === undefined ? (method === 'GET' ? undefined : '{}') : JSON.stringify(body))
  return (response.status === 204 ? undefined : await response.json()) as T
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** A call that may be repeated without harm, tried for about half a minute while the server is away. */
export async function insist<T>(attempt: () => Promise<T>, waits = [300, 700, 1500, 3000, 5000, 8000, 10000]): Promise<T> {
  for (const wait of waits) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof ApiError) || !error.passing) throw error
      await sleep(error.retryAfter ? error.retryAfter * 1000 : wait)
    }
  }
  return attempt()
}

export function query(values: Record<string, string | number | null | undefined>): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(values)) if (value !== null && value !== undefined && value !== '') search.set(name, String(value))
  const text = search.toString()
  return text ? `?${text}` : ''
}

export const at = (id: string) => encodeURIComponent(id)

export interface ListQuery {
  limit?: number
  cursor?: string | null
  folder?: string | null
  q?: string
  pinned?: 0 | 1
  deleted?: 0 | 1
}
export type ChatFields = Partial<Pick<Chat, 'title' | 'folder' | 'pinned' | 'model' | 'system' | 'params' | 'head'>>
export interface GenerateOrder {
  parent: string
  id?: string
  continue?: boolean
  model?: string | null
  params?: Params
}

export const api = {
  info: () => call<Info>('GET', '/api/info'),
  chats: (q: ListQuery) => call<Page<Hit>>('GET', `/api/chats${query({ ...q })}`),
  chat: (id: string) => call<ChatWithMessages>('GET', `/api/chats/${at(id)}`),
  createChat: (fields: ChatFields) => call<Chat>('POST', '/api/chats', fields),
  changeChat: (id: string, fields: ChatFields) => call<Chat>('PATCH', `/api/chats/${at(id)}`, fields),
  deleteChat: (id: string, forever = false) => call<unknown>('DELETE', `/api/chats/${at(id)}${forever ? '?forever=1' : ''}`),
  restoreChat: (id: string) => call<Chat>('POST', `/api/chats/${at(id)}/restore`, {}),
  addMessage: (chat: string, message: { id: string; parent: string | null; content: string }) =>
    call<Message>('POST', `/api/chats/${at(chat)}/messages`, message),
  changeMessage: (id: string, content: string) => call<Message>('PATCH', `/api/messages/${at(id)}`, { content }),
  generate: (chat: string, order: GenerateOrder) => call<Message>('POST', `/api/chats/${at(chat)}/generate`, order),
  stop: (id: string) => call<Message>('POST', `/api/messages/${at(id)}/stop`, {}),
  exportChats: async (chat: string | null, format: 'jsonl' | 'md') =>
    (await send('GET', `/api/export${query(chat ? { chat, format } : { all: 1, format })}`)).blob(),
  async importChats(file: File): Promise<ImportResult> {
    const lines = /\.(jsonl|ndjson)$/i.test(file.name)
    const response = await send('POST', '/api/import', file, lines ? 'application/x-ndjson' : 'application/json')
    return (await response.json()) as ImportResult
  },
  server: () => call<ServerState>('GET', '/api/server'),
  settings: async () => (await call<{ data: Setting[] }>('GET', '/api/settings')).data,
  cancelRequest: (id: string) => call<unknown>('POST', `/api/requests/${at(id)}/cancel`, {}),
  models: () => call<ModelList>('GET', '/api/models'),
  model: (name: string) => call<ModelDetails>('GET', `/api/models/${at(name)}`),
  /** Answers when it is done; loading goes on if nobody waits for it. */
  modelDo: (name: string, what: 'load' | 'unload' | 'sleep' | 'wake') => call<unknown>('POST', `/api/models/${at(name)}/${what}`, {}),
  deleteModel: (name: string) => call<{ name: string; freed_bytes: number }>('DELETE', `/api/models/${at(name)}`),
}
