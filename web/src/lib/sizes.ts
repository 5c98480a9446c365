/** Bytes as people read them, in powers of 1024 as the server's limits are. */
export function sizeOf(bytes: number, format: (value: number, digits: number) => string): string {
  if (bytes < 1024) return `${format(bytes, 0)} B`
  const units = ['KB', 'MB', 'GB']
  let value = bytes / 1024
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${format(value, value < 10 ? 1 : 0)} ${units[unit]}`
}
