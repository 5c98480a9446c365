/**
 * The only way from text that a model wrote to elements. markdown-it makes no HTML of the text's own (html: false) and
 * refuses dangerous addresses; DOMPurify stands behind it in case either of us is wrong. Nothing else in the page sets HTML.
 */
import DOMPurify from 'dompurify'

const CONFIG = {
  USE_PROFILES: { html: true, mathMl: true, svg: true },
  ADD_ATTR: ['target', 'data-copy'],
  FORBID_TAGS: ['style', 'form', 'input', 'textarea', 'select', 'option', 'iframe', 'object', 'embed', 'video', 'audio', 'source', 'link', 'meta', 'base', 'image', 'use', 'dialog', 'template', 'slot'],
  FORBID_ATTR: ['id', 'name', 'srcset', 'action', 'formaction', 'ping', 'background', 'poster', 'xlink:href'],
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
} as const

/** What a style or a drawing fetches something with; a backslash may hide it. */
const FETCHES = /\\|url\s*\(|src\s*\(|image/i
const WORDS = ['href', 'src', 'alt', 'title']

let hooked = false

function hook(): void {
  hooked = true
  DOMPurify.addHook('uponSanitizeAttribute', (_, data) => {
    if (!WORDS.includes(data.attrName) && FETCHES.test(data.attrValue)) data.keepAttr = false
  })
  DOMPurify.addHook('afterSanitizeAttributes', (node) => {
    if (node.localName === 'a') { // of HTML or SVG
      // A path would lead into this server, where the reader has more rights than the writer.
      if (!/^(https?|mailto):/i.test(node.getAttribute('href') ?? '')) node.removeAttribute('href')
      node.setAttribute('target', '_blank')
      node.setAttribute('rel', 'noopener noreferrer nofollow')
    }
    // Pictures from elsewhere would tell their server that, and what, someone reads here.
    if (node.tagName === 'IMG' && !/^data:image\/(png|jpeg|gif|webp);/i.test(node.getAttribute('src') ?? '')) node.removeAttribute('src')
  })
}

export function clean(html: string): DocumentFragment {
  if (!hooked) {
    hook()
    // Once: to take it in costs more than to clean a short block, and so does a policy for trusted types, which ours doesn't ask for.
    DOMPurify.setConfig({
      ...CONFIG,
      FORBID_TAGS: [...CONFIG.FORBID_TAGS],
      FORBID_ATTR: [...CONFIG.FORBID_ATTR],
      ADD_ATTR: [...CONFIG.ADD_ATTR],
      TRUSTED_TYPES_POLICY: null,
    })
  }
  return DOMPurify.sanitize(html) as unknown as DocumentFragment
}
