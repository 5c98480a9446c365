/** Calls of the page's own API. Every failure is an ApiError that says whether a later try may do better. */
import { at } from '../lib/root'
import type {
  ApiKey, Chat, ChatWithMessages, FileEntry, Hit, ImportResult, Info, KeyList, Message, ModelDetails, ModelList, NewKey, Page, Params, ServerState,
  Session, Setting,
} from './types'

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

function errorFrom(status: number, text: string, retryField: string | null): ApiError {
  const wait = Number(retryField)
  const retryAfter = Number.isFinite(wait) && wait > 0 ? wait : null
  try {
    const error = (JSON.parse(text) as { error?: { message?: unknown; code?: unknown; lines?: { line: number; message: string }[] } }).error
    if (typeof error?.message === 'string')
      return new ApiError(status, error.message, typeof error.code === 'string' ? error.code : null, retryAfter, error.lines ?? [])
  } catch {
    // Not JSON: a proxy's page; its status says enough.
  }
  return new ApiError(status, `HTTP ${status}`, null, retryAfter)
}

const errorOf = async (response: Response) => errorFrom(response.status, await response.text().catch(() => ''), response.headers.get('retry-after'))

let unauthorized = () => {}
/** What to do when a call finds that nobody is signed in (any more). */
export function onUnauthorized(f: () => void): void {
  unauthorized = f
}

export async function send(method: string, path: string, body?: BodyInit, type = 'application/json'): Promise<Response> {
  let response: Response
  try {
    response = await fetch(at(path), {
      method,
      ...(body === undefined ? {} : { body, headers: { 'content-type': type } }),
      credentials: 'same-origin',
    })
  } catch (cause) {
    throw new ApiError(0, cause instanceof Error ? cause.message : String(cause))
  }
  if (response.ok) return response
  const error = await errorOf(response)
  if (error.code === 'sign_in_needed' || error.code === 'sign_up_needed') unauthorized()
  throw error
}

/** As `send`, of a file, and it tells how much of it is on its way (0 to 1), which fetch doesn't. */
function sendFile(path: string, file: Blob, progress: (share: number) => void, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('POST', at(path))
    request.setRequestHeader('content-type', 'application/octet-stream')
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total)
    request.upload.onload = () => progress(1)
    request.onload = () =>
      request.status < 300
        ? resolve(JSON.parse(request.responseText))
        : reject(errorFrom(request.status, request.responseText, request.getResponseHeader('retry-after')))
    request.onerror = () => reject(new ApiError(0, 'the connection broke'))
    request.onabort = () => reject(new DOMException('removed', 'AbortError'))
    signal.addEventListener('abort', () => request.abort())
    request.send(file)
  })
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

export const part = (id: string) => encodeURIComponent(id)

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
  session: () => call<Session>('GET', '/api/session'),
  signIn: (name: string, password: string) => call<Session>('POST', '/api/session', { name, password }),
  signOut: (everywhere: boolean) => call<unknown>('DELETE', `/api/session${everywhere ? '?all=1' : ''}`),
  signUp: (code: string, name: string, password: string) => call<Session>('POST', '/api/account', { code, name, password }),
  changePassword: (password: string, other: string) => call<Session>('PATCH', '/api/account', { password, new_password: other }),
  keys: () => call<KeyList>('GET', '/api/keys'),
  makeKey: (key: NewKey) => call<ApiKey>('POST', '/api/keys', key),
  revokeKey: (id: string) => call<unknown>('DELETE', `/api/keys/${part(id)}`),
  checkKeys: (checked: boolean) => call<unknown>('PATCH', '/api/keys', { checked }),
  info: () => call<Info>('GET', '/api/info'),
  chats: (q: ListQuery) => call<Page<Hit>>('GET', `/api/chats${query({ ...q })}`),
  chat: (id: string) => call<ChatWithMessages>('GET', `/api/chats/${part(id)}`),
  createChat: (fields: ChatFields) => call<Chat>('POST', '/api/chats', fields),
  changeChat: (id: string, fields: ChatFields) => call<Chat>('PATCH', `/api/chats/${part(id)}`, fields),
  deleteChat: (id: string, forever = false) => call<unknown>('DELETE', `/api/chats/${part(id)}${forever ? '?forever=1' : ''}`),
  restoreChat: (id: string) => call<Chat>('POST', `/api/chats/${part(id)}/restore`, {}),
  addMessage: (chat: string, message: { id: string; parent: string | null; content: string; files?: string[] }) =>
    call<Message>('POST', `/api/chats/${part(chat)}/messages`, message),
  changeMessage: (id: string, content: string) => call<Message>('PATCH', `/api/messages/${part(id)}`, { content }),
  generate: (chat: string, order: GenerateOrder) => call<Message>('POST', `/api/chats/${part(chat)}/generate`, order),
  stop: (id: string) => call<Message>('POST', `/api/messages/${part(id)}/stop`, {}),
  addFile: (file: File, model: string | null, progress: (share: number) => void, signal: AbortSignal) =>
    sendFile(`/api/files${query({ name: file.name, model })}`, file, progress, signal) as Promise<FileEntry>,
  file: (id: string, model: string | null) => call<FileEntry>('GET', `/api/files/${part(id)}${query({ model })}`),
  fileText: async (id: string) => (await send('GET', `/api/files/${part(id)}/text`)).text(),
  deleteFile: (id: string) => call<unknown>('DELETE', `/api/files/${part(id)}`),
  exportChats: async (chat: string | null, format: 'jsonl' | 'md') =>
    (await send('GET', `/api/export${query(chat ? { chat, format } : { all: 1, format })}`)).blob(),
  async importChats(file: File): Promise<ImportResult> {
    const lines = /\.(jsonl|ndjson)$/i.test(file.name)
    const response = await send('POST', '/api/import', file, lines ? 'application/x-ndjson' : 'application/json')
    return (await response.json()) as ImportResult
  },
  server: () => call<ServerState>('GET', '/api/server'),
  settings: async () => (await call<{ data: Setting[] }>('GET', '/api/settings')).data,
  cancelRequest: (id: string) => call<unknown>('POST', `/api/requests/${part(id)}/cancel`, {}),
  models: () => call<ModelList>('GET', '/api/models'),
  model: (name: string) => call<ModelDetails>('GET', `/api/models/${part(name)}`),
  /** Answers when it is done; loading goes on if nobody waits for it. */
  modelDo: (name: string, what: 'load' | 'unload' | 'sleep' | 'wake') => call<unknown>('POST', `/api/models/${part(name)}/${what}`, {}),
  deleteModel: (name: string) => call<{ name: string; freed_bytes: number }>('DELETE', `/api/models/${part(name)}`),
}
