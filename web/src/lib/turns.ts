/**
 * Much to show, a little at a time: jobs run at once while little was done lately, else one after the other in portions,
 * with time for the browser in between, so that no task is long. A job that waits already is not queued again.
 */
const PORTION = 4 // ms of work at most, where jobs are short
const HIDDEN = 50 // the same in a hidden tab, which has no frames and slow timers
const PAUSE = 8 // ms at least until the next portion
const SHARE = 3 // the pause is at least so many times the work

const waiting = new Set<() => void>()
let spent = 0
let timer: ReturnType<typeof setTimeout> | undefined

const portion = () => (document.hidden ? HIDDEN : PORTION)

export function turn(job: () => void): void {
  waiting.add(job)
  if (waiting.size === 1 && spent < portion()) work()
}

/** It won't run any more. */
export function noTurn(job: () => void): void {
  waiting.delete(job)
}

function work(): void {
  const begin = performance.now() - spent
  try {
    for (const job of waiting) {
      waiting.delete(job)
      job()
      if (performance.now() - begin >= portion()) break
    }
  } finally {
    spent = performance.now() - begin
    clearTimeout(timer)
    timer = setTimeout(next, Math.max(PAUSE, spent * SHARE))
  }
}

function next(): void {
  spent = 0
  if (waiting.size) work()
}
