// A program puts an emoji before another in bold text of Quill, first without saying bold and then saying it. Prints each
// person's updates as base64, a person a line.
import { place } from './page.mjs'
import * as Y from 'yjs'

const { default: QuillEditor } = await import('quill')
const { QuillBinding } = await import('y-quill')

for (const formats of [[], [{ bold: true }]]) {
  const doc = new Y.Doc()
  const updates = []
  doc.on('update', update => updates.push(Buffer.from(update).toString('base64')))
  const quill = new QuillEditor(place())
  const binding = new QuillBinding(doc.getText('content'), quill)
  quill.insertText(0, 'ab👩', { bold: true }, 'user')
  quill.insertText(2, '😀', ...formats, 'user')
  binding.destroy()
  console.log(updates.join(' '))
}
process.stdout.write('', () => process.exit(0))
