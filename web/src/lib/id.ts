const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** 128 random bits in base32 after a prefix, as the server makes them: a call repeated with the same id does nothing twice. */
export function newId(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  let bits = 0
  let held = 0
  let text = ''
  for (const byte of bytes) {
    held = (held << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += ALPHABET[(held >> bits) & 31]
      held &= (1 << bits) - 1
    }
  }
  text += ALPHABET[(held << (5 - bits)) & 31]
  return prefix + text
}
