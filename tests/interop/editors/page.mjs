// A page without a browser: what the editors expect of one and jsdom does not have. Import it before any editor.
import { JSDOM } from 'jsdom'

const { window } = new JSDOM('<!doctype html><body></body>', { pretendToBeVisual: true })
for (const name of [
  'window', 'document', 'Node', 'Text', 'Element', 'HTMLElement', 'HTMLImageElement', 'DocumentFragment', 'Range', 'Selection', 'MutationObserver', 'Event',
  'KeyboardEvent', 'DOMParser', 'XMLSerializer', 'getComputedStyle', 'navigator', 'requestAnimationFrame', 'cancelAnimationFrame', 'getSelection', 'innerHeight', 'innerWidth'
]) globalThis[name] ??= typeof window[name] === 'function' && !window[name].prototype ? window[name].bind(window) : window[name]
globalThis.window = window

// There is no layout: everything is where the corner is.
const nowhere = () => ({ x: 0, y: 0, top: 0, left: 0, right: 0, bottom: 0, width: 0, height: 0 })
for (const kind of [window.Range, window.Element]) {
  kind.prototype.getClientRects = () => []
  kind.prototype.getBoundingClientRect = nowhere
}
window.document.elementFromPoint = () => null
window.Element.prototype.scrollIntoView = () => {}
window.scrollBy = window.scrollTo = () => {}
window.ResizeObserver = globalThis.ResizeObserver = class { observe () {} unobserve () {} disconnect () {} }

export const place = () => window.document.body.appendChild(window.document.createElement('div'))
