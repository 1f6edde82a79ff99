// ProseMirror on y-prosemirror, with a schema of its own: paragraphs, headings, lists, tables, images, marks, undo.
import { place } from './page.mjs'
import { WORDS, caretIn } from './words.mjs'

const { Schema, Slice, Fragment } = await import('@tiptap/pm/model')
const { EditorState, TextSelection } = await import('@tiptap/pm/state')
const { EditorView } = await import('@tiptap/pm/view')
const { toggleMark, setBlockType, wrapIn, splitBlock, deleteSelection, joinBackward, lift } = await import('@tiptap/pm/commands')
const { addListNodes, wrapInList, splitListItem, sinkListItem } = await import('@tiptap/pm/schema-list')
const { tableNodes, tableEditing, addRowAfter, addColumnAfter, deleteRow } = await import('@tiptap/pm/tables')
const { ySyncPlugin, yUndoPlugin, undo, redo, initProseMirrorDoc } = await import('y-prosemirror')

const basic = new Schema({
  nodes: {
    doc: { content: 'block+' },
    paragraph: { content: 'inline*', group: 'block', toDOM: () => ['p', 0] },
    heading: { content: 'inline*', group: 'block', attrs: { level: { default: 1 } }, toDOM: node => ['h' + node.attrs.level, 0] },
    blockquote: { content: 'block+', group: 'block', toDOM: () => ['blockquote', 0] },
    text: { group: 'inline' },
    image: { inline: true, group: 'inline', attrs: { src: {}, size: { default: null } }, toDOM: node => ['img', { src: node.attrs.src }] }
  },
  marks: {
    strong: { toDOM: () => ['strong', 0] },
    link: { attrs: { href: {} }, inclusive: false, toDOM: mark => ['a', mark.attrs, 0] },
    comment: { attrs: { id: {} }, excludes: '', toDOM: () => ['span', 0] } // may overlap with itself
  }
})
const nodes = addListNodes(basic.spec.nodes, 'paragraph block*', 'block').append(tableNodes({ tableGroup: 'block', cellContent: 'block+', cellAttributes: {} }))
const schema = new Schema({ nodes, marks: basic.spec.marks })
const { paragraph, heading, blockquote, image, ordered_list: ordered, list_item: item, table, table_row: row, table_cell: cell } = schema.nodes

const newTable = () => table.create(null, [0, 1].map(() => row.create(null, [0, 1].map(() => cell.createAndFill()))))

export class ProseMirror {
  constructor (ydoc, { below, pick, chance }) {
    Object.assign(this, { below, pick, chance })
    const fragment = ydoc.getXmlFragment('xml')
    const { doc, mapping } = initProseMirrorDoc(fragment, schema)
    this.view = new EditorView(place(), {
      state: EditorState.create({ doc, schema, plugins: [ySyncPlugin(fragment, { mapping }), yUndoPlugin(), tableEditing()] })
    })
  }

  select () {
    const { state } = this.view
    const size = state.doc.content.size
    const from = caretIn(state.doc, this.below(size + 1))
    const to = this.chance(0.5) ? from : caretIn(state.doc, Math.min(size, from + this.below(15)))
    this.view.dispatch(state.tr.setSelection(TextSelection.between(state.doc.resolve(from), state.doc.resolve(to))))
  }

  edit () {
    const { below, pick, chance, view } = this
    if (chance(0.6)) this.select()
    const { state } = view
    const run = command => command(view.state, view.dispatch, view)
    switch (below(22)) {
      case 0: return run(toggleMark(schema.marks.strong))
      case 1: return run(toggleMark(schema.marks.link, { href: 'https://example.com/?q=ü' }))
      case 2: return run(toggleMark(schema.marks.comment, { id: below(5) }))
      case 3: return run(setBlockType(heading, { level: 1 + below(3) }))
      case 4: return run(setBlockType(paragraph))
      case 5: return run(wrapInList(ordered))
      case 6: return run(splitListItem(item)) || run(splitBlock)
      case 7: return run(sinkListItem(item)) || run(lift)
      case 8: return run(wrapIn(blockquote))
      case 9: return run(deleteSelection)
      case 10: return view.dispatch(chance(0.5) ? state.tr.replaceSelectionWith(newTable()) : state.tr)
      case 11: return run(addRowAfter) || run(addColumnAfter)
      case 12: return run(deleteRow) || run(joinBackward)
      case 13: return view.dispatch(state.tr.replaceSelectionWith(image.create({ src: 'data:,' + 'A'.repeat(below(60)), size: { w: below(9) } })))
      case 14: return view.dispatch(state.tr.replaceSelection(new Slice(Fragment.from([paragraph.create(null, schema.text('pasted')), heading.create(null, schema.text('שלום 😀'))]), 1, 1)))
      case 15: case 16: return undo(state)
      case 17: return redo(state)
      default: return view.dispatch(state.tr.insertText(pick(WORDS)))
    }
  }

  end () { this.view.destroy() }
}
