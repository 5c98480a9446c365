/** Lengths and cuts in bytes of UTF-8, which the server counts in, of strings, which count in UTF-16. */

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export function utf8Length(text: string): number {
  let bytes = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) bytes += 1
    else if (unit < 0x800) bytes += 2
    else if (unit >= 0xd800 && unit < 0xdc00 && i + 1 < text.length) {
      bytes += 4
      i++
    } else bytes += 3
  }
  return bytes
}

/** The text without its first n bytes; n lies between characters. */
export function dropBytes(text: string, n: number): string {
  return n <= 0 ? text : decoder.decode(encoder.encode(text).subarray(n))
}
