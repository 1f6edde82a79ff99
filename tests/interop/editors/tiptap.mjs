// Tiptap 3 with its collaboration extension: blocks, lists, tables, images, marks, pasted HTML, undo.
import { place } from './page.mjs'
import { WORDS, caretIn } from './words.mjs'

const { Editor } = await import('@tiptap/core')
const { StarterKit } = await import('@tiptap/starter-kit')
const { Collaboration } = await import('@tiptap/extension-collaboration')
const { TableKit } = await import('@tiptap/extension-table')
const { Image } = await import('@tiptap/extension-image')
const { TextSelection } = await import('@tiptap/pm/state')

const HTML = ['<p>pasted <b>bold</b></p><ul><li>one</li><li>two</li></ul>', '<h2>שלום</h2><p>😀</p>', '<table><tr><td>a</td><td>b</td></tr></table>', '<blockquote><p>q</p></blockquote>']

export class Tiptap {
  constructor (doc, { below, pick, chance }) {
    Object.assign(this, { below, pick, chance })
    this.editor = new Editor({
      element: place(),
      extensions: [StarterKit.configure({ undoRedo: false }), Collaboration.configure({ document: doc, field: 'xml' }), TableKit, Image]
    })
  }

  select () {
    const { state, view } = this.editor
    const size = state.doc.content.size
    const from = caretIn(state.doc, this.below(size + 1))
    const to = this.chance(0.5) ? from : caretIn(state.doc, Math.min(size, from + this.below(15)))
    view.dispatch(state.tr.setSelection(TextSelection.between(state.doc.resolve(from), state.doc.resolve(to))))
  }

  edit () {
    const { below, pick, chance, editor } = this
    if (chance(0.6)) this.select()
    const { commands } = editor
    switch (below(22)) {
      case 0: return commands.toggleBold()
      case 1: return commands.toggleItalic()
      case 2: return commands.setLink({ href: 'https://example.com/?q=ü' })
      case 3: return commands.toggleHeading({ level: 1 + below(3) })
      case 4: return commands.toggleBulletList()
      case 5: return commands.toggleOrderedList()
      case 6: return commands.sinkListItem('listItem')
      case 7: return commands.splitBlock()
      case 8: return commands.deleteSelection()
      case 9: return chance(0.3) ? commands.insertTable({ rows: 2, cols: 2 }) : commands.addRowAfter()
      case 10: return chance(0.5) ? commands.addColumnAfter() : commands.deleteRow()
      case 11: return commands.setImage({ src: 'data:image/png;base64,' + 'A'.repeat(below(60)), alt: pick(WORDS) })
      case 12: return commands.insertContent(pick(HTML))
      case 13: case 14: return commands.undo()
      case 15: return commands.redo()
      case 16: return commands.toggleCodeBlock()
      case 17: return commands.joinBackward()
      default: return commands.insertContent({ type: 'text', text: pick(WORDS) })
    }
  }

  end () { this.editor.destroy() }
}
