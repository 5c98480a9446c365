export type Age = 'today' | 'yesterday' | 'week' | 'month' | 'older'

const DAY = 86_400_000

/** Which group of the list a time (Unix seconds) belongs to. */
export function ageOf(seconds: number, now = new Date()): Age {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime()
  const time = seconds * 1000
  if (time >= midnight) return 'today'
  if (time >= midnight - DAY) return 'yesterday'
  if (time >= midnight - 6 * DAY) return 'week'
  if (time >= midnight - 29 * DAY) return 'month'
  return 'older'
}
