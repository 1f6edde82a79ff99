// CodeMirror 6 on y-codemirror.next: typing, pasting, replacing, composing, several cursors, undo.
import { place } from './page.mjs'
import { WORDS, COMPOSITIONS, caret } from './words.mjs'
import { EditorState } from '@codemirror/state'
import { EditorView } from '@codemirror/view'
import { Awareness } from 'y-protocols/awareness'
import { yCollab } from 'y-codemirror.next'
import * as Y from 'yjs'

export class CodeMirror {
  constructor (doc, { below, pick, chance }) {
    Object.assign(this, { below, pick, chance })
    const text = doc.getText('content')
    this.undo = new Y.UndoManager(text, { captureTimeout: 0 })
    this.view = new EditorView({
      parent: place(),
      state: EditorState.create({
        doc: text.toString(), extensions: [EditorState.allowMultipleSelections.of(true), yCollab(text, new Awareness(doc), { undoManager: this.undo })]
      })
    })
    this.composing = null
  }

  at () {
    const text = this.view.state.doc.toString()
    return caret(text, this.below(text.length + 1))
  }

  range () {
    const text = this.view.state.doc.toString()
    const from = this.at()
    return { from, to: Math.max(from, caret(text, Math.min(text.length, from + 1 + this.below(this.chance(0.05) ? 200 : 8)))) }
  }

  edit () {
    const { below, pick, chance, view } = this
    if (this.composing) return this.compose()
    switch (below(10)) {
      case 0: case 1: return view.dispatch({ changes: this.range(), userEvent: 'delete.backward' })
      case 2: return view.dispatch({ changes: { ...this.range(), insert: pick(WORDS) }, userEvent: 'input.paste' })
      case 3: this.composing = { steps: pick(COMPOSITIONS).slice(), from: this.at(), length: 0 }; return this.compose()
      case 4: return chance(0.6) ? this.undo.undo() : this.undo.redo()
      case 5: { // several cursors type the same
        const places = [...new Set([this.at(), this.at(), this.at()])].sort((a, b) => a - b)
        return view.dispatch({ changes: places.map(from => ({ from, insert: 'ab' })), userEvent: 'input.type' })
      }
      case 6: return view.dispatch({ changes: { from: this.at(), insert: '\n' }, userEvent: 'input' })
      default: { // typing goes on where the cursor is
        const at = chance(0.8) ? view.state.selection.main.head : this.at()
        const insert = pick(WORDS)
        return view.dispatch({ changes: { from: at, insert }, selection: { anchor: at + insert.length }, userEvent: 'input.type' })
      }
    }
  }

  compose () {
    const { view, composing } = this
    const insert = composing.steps.shift()
    const length = view.state.doc.length
    const text = view.state.doc.toString()
    const from = caret(text, Math.min(composing.from, length))
    const to = Math.max(from, caret(text, Math.min(from + composing.length, length)))
    view.dispatch({ changes: { from, to, insert }, userEvent: 'input.type.compose' })
    composing.length = insert.length
    if (composing.steps.length === 0) this.composing = null
  }

  end () { this.view.destroy() }
}
