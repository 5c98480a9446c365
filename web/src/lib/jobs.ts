import type { Job } from '../api/types'

const KINDS = ['translate', 'summary', 'answer', 'template', 'batch']

export const kindText = (kind: string, t: (key: string) => string): string => (KINDS.includes(kind) ? t(`tasks.kind.${kind}`) : kind)

/** A job that nobody named is called by its kind. */
export const jobTitle = (job: Job, t: (key: string) => string): string => job.title || kindText(job.kind, t)
