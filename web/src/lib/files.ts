/** A title as the name of a file, without what systems forbid in names. */
export function fileName(title: string): string {
  const name = [...title.replace(/[\p{Cc}\p{Cf}<>:"/\\|?*]/gu, ' ').trim()].slice(0, 60).join('').replace(/[. ]+$/, '')
  return name || 'chat'
}

export function saveFile(blob: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}
