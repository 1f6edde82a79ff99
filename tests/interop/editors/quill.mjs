// Quill 2 on y-quill: text, formats, lists, embeds, whole deltas, undo.
import { place } from './page.mjs'
import { WORDS, COMPOSITIONS, caret } from './words.mjs'
import * as Y from 'yjs'

const { default: QuillEditor } = await import('quill')
const { QuillBinding } = await import('y-quill')

const MARKS = [['bold', true], ['bold', false], ['italic', true], ['link', 'https://example.com/?q=ü'], ['color', '#f00'], ['underline', true], ['size', 'large']]
const LINES = [['header', 2], ['header', false], ['list', 'bullet'], ['list', 'ordered'], ['align', 'center'], ['blockquote', true], ['indent', 1], ['direction', 'rtl']]

export class Quill {
  constructor (doc, { below, pick, chance }) {
    Object.assign(this, { below, pick, chance })
    const text = doc.getText('content')
    this.quill = new QuillEditor(place())
    this.binding = new QuillBinding(text, this.quill)
    this.undo = new Y.UndoManager(text, { captureTimeout: 0, trackedOrigins: new Set([this.binding]) })
  }

  // Embeds count as one.
  characters () { return this.quill.getContents().ops.map(op => typeof op.insert === 'string' ? op.insert : '.').join('') }

  range () {
    const text = this.characters()
    const end = text.length - 1 // Quill keeps a line feed at the end
    const from = caret(text, this.below(end + 1))
    return [from, Math.max(0, caret(text, Math.min(end, from + 1 + this.below(12))) - from)]
  }

  edit () {
    const { below, pick, chance, quill } = this
    const [at, length] = this.range()
    switch (below(9)) {
      case 0: case 1: return length && quill.deleteText(at, length, 'user')
      case 2: return length && quill.formatText(at, length, ...pick(MARKS), 'user')
      case 3: return quill.formatLine(at, Math.max(1, length), ...pick(LINES), 'user')
      case 4: return quill.insertEmbed(at, 'image', 'data:image/png;base64,' + 'A'.repeat(below(60)), 'user')
      case 5: return chance(0.6) ? this.undo.undo() : this.undo.redo()
      case 6: return quill.updateContents([...(at ? [{ retain: at }] : []), { insert: pick(WORDS) + '\n', attributes: { bold: true } }, ...(length ? [{ delete: length }] : [])], 'user')
      case 7: { // composed in place, a letter at a time
        let shown = 0
        for (const step of pick(COMPOSITIONS)) {
          if (shown) quill.deleteText(at, shown, 'user')
          quill.insertText(at, step, 'user')
          shown = step.length
        }
        return
      }
      default: return quill.insertText(at, pick(WORDS), ...(chance(0.3) ? pick(MARKS) : []), 'user')
    }
  }

  end () { this.undo.destroy(); this.binding.destroy() }
}
