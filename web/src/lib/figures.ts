/** Figures in words that need no translation. */

const STEPS = ['B', 'KB', 'MB', 'GB', 'TB']

/** "491 MB", "1.2 GB": decimal, as disks and the command line tell them. */
export function bytesText(bytes: number): string {
  let value = bytes
  let step = 0
  while (value >= 999.5 && step < STEPS.length - 1) {
    value /= 1000
    step++
  }
  const digits = step >= 3 && value < 100 ? (value < 10 ? 2 : 1) : 0
  return `${value.toFixed(digits)} ${STEPS[step]}`
}

/** "0:07", "2:03:10". */
export function clockText(seconds: number): string {
  const all = Math.max(0, Math.floor(seconds))
  const two = (n: number) => String(n).padStart(2, '0')
  const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60]
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
}

/** A round number at or above the highest of a chart. */
export function ceiling(highest: number): number {
  if (highest <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(highest))
  const step = [1, 2, 5, 10].find((n) => n * power >= highest * (1 - 1e-9)) ?? 10
  return step * power
}
