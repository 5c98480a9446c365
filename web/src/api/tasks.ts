/** Calls for long work: jobs, their parts, and tasks that people make. */
import { at, call, query, send } from './client'
import type { Job, JobPart, Page, Template, TemplateFields } from './types'

export interface JobOrder {
  kind: string
  title?: string
  params: Record<string, unknown>
}

export const tasksApi = {
  jobs: (cursor: string | null = null, limit = 30, kind: string | null = null) => call<Page<Job>>('GET', `/api/jobs${query({ limit, cursor, kind })}`),
  job: (id: string) => call<Job>('GET', `/api/jobs/${at(id)}`),
  start: (order: JobOrder) => call<Job>('POST', '/api/jobs', order),
  ask: (id: string, what: 'pause' | 'resume' | 'cancel') => call<Job>('POST', `/api/jobs/${at(id)}/${what}`, {}),
  remove: (id: string) => call<unknown>('DELETE', `/api/jobs/${at(id)}`),
  parts: (id: string, from: number, limit = 100) => call<{ data: JobPart[]; next: number | null }>('GET', `/api/jobs/${at(id)}/parts${query({ from, limit })}`),
  result: async (id: string, format: string) => (await send('GET', `/api/jobs/${at(id)}/result${query({ format })}`)).blob(),
  templates: async () => (await call<{ data: Template[] }>('GET', '/api/templates')).data,
  addTemplate: (fields: TemplateFields) => call<Template>('POST', '/api/templates', fields),
  changeTemplate: (id: string, fields: TemplateFields) => call<Template>('PATCH', `/api/templates/${at(id)}`, fields),
  removeTemplate: (id: string) => call<unknown>('DELETE', `/api/templates/${at(id)}`),
}
