// Writes what real editors send to a server, one message a line, as generate_updates.mjs does: 2 to 4 people in one
// document, each with an editor in a page of their own, who type, paste, compose, format, undo, see each other late, and go
// offline and come back. After the `state` of a session comes its `content`: what everybody ends up with, as JSON.
//
// Usage: node generate_editor_updates.mjs <seed> <updates> <editor>...    at least so many of each
//        node generate_editor_updates.mjs read < lines    prints the content of each line's state (base64)
import * as Y from 'yjs'
import { createInterface } from 'node:readline'
import { seeded } from './seeded.mjs'

const EDITORS = {
  codemirror: async () => (await import('./editors/codemirror.mjs')).CodeMirror,
  prosemirror: async () => (await import('./editors/prosemirror.mjs')).ProseMirror,
  quill: async () => (await import('./editors/quill.mjs')).Quill,
  tiptap: async () => (await import('./editors/tiptap.mjs')).Tiptap
}

const asJson = type => {
  if (type instanceof Y.XmlElement) return { [type.nodeName]: sorted(type.getAttributes()), children: type.toArray().map(asJson) }
  if (type instanceof Y.XmlText || type instanceof Y.Text) return type.toDelta()
  return type.toArray().map(asJson) // a fragment
}
const sorted = object => Object.fromEntries(Object.entries(object).sort(([a], [b]) => a < b ? -1 : 1))
const content = doc => JSON.stringify({ text: asJson(doc.getText('content')), xml: asJson(doc.getXmlFragment('xml')) })

const write = (session, kind, bytes) => process.stdout.write(`${session} ${kind} ${bytes.length} ${Buffer.from(bytes).toString('base64')}\n`)

// An editor that loses its way when the others' work moves the ground (Tiptap's selection does, now and then) is a line in a
// browser's console: the document is sound, and its person goes on.
const bearing = step => {
  try { step() } catch (error) { if (!(error instanceof RangeError)) throw error }
}

class Person {
  constructor (Editor, session, room, chosen) {
    Object.assign(this, { session, room, ...chosen, held: [], unseen: [], online: true })
    this.doc = new Y.Doc({ gc: this.chance(0.8) })
    this.doc.clientID = 1 + this.below(2 ** 32 - 1)
    this.see()
    this.doc.on('update', (update, origin) => {
      if (origin === 'room') return
      if (this.online) this.send(update)
      else this.held.push(update)
    })
    this.editor = new Editor(this.doc, chosen)
  }

  send (update) {
    write(this.session, 'update', update)
    written++
    Y.applyUpdate(this.room, update, this)
  }

  see () { Y.applyUpdate(this.doc, Y.encodeStateAsUpdate(this.room, Y.encodeStateVector(this.doc)), 'room') }

  hears (update) { if (this.online) this.unseen.push(update) }

  catchUp () { for (const update of this.unseen.splice(0)) bearing(() => Y.applyUpdate(this.doc, update, 'room')) }

  comeBack () {
    this.online = true
    const held = this.held.splice(0)
    if (held.length > 0) {
      const way = this.below(3)
      if (way === 0) this.send(Y.encodeStateAsUpdate(this.doc, Y.encodeStateVector(this.room))) // SyncStep2
      else if (way === 1) this.send(Y.mergeUpdates(held))
      else this.send(Y.encodeStateAsUpdate(this.doc))
    }
    this.unseen = []
    bearing(() => this.see())
  }
}

const play = (Editor, session, chosen) => {
  const { below, pick, chance } = chosen
  const room = new Y.Doc({ gc: chance(0.8) })
  const people = Array.from({ length: 2 + below(3) }, () => new Person(Editor, session, room, chosen))
  room.on('update', (update, sender) => people.forEach(person => person !== sender && person.hears(update)))
  for (let step = 0; step < 100; step++) {
    const person = pick(people)
    for (let more = chance(0.3) ? 5 : 1; more > 0; more--) bearing(() => person.editor.edit())
    if (chance(0.05)) person.online = false
    else if (!person.online && chance(0.2)) person.comeBack()
    if (chance(0.6)) pick(people).catchUp()
  }
  people.forEach(person => { person.catchUp(); person.comeBack() })
  // What an editor puts right when it sees the others' work is an edit too, until nobody has any.
  for (let round = 0; round < 10; round++) people.forEach(person => person.catchUp())
  people.forEach(person => person.editor.end())
  write(session, 'state', Y.encodeStateVector(room))
  write(session, 'content', Buffer.from(content(room)))
}

let written = 0
const [seed, wanted, ...editors] = process.argv.slice(2)
if (seed === 'read') {
  for await (const line of createInterface({ input: process.stdin })) {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, Buffer.from(line, 'base64'))
    console.log(content(doc))
  }
} else {
  for (const editor of editors) {
    const chosen = seeded(Number(seed))
    const Editor = await EDITORS[editor]()
    written = 0
    for (let session = 0; written < Number(wanted); session++) play(Editor, editor + session, chosen)
  }
}
process.stdout.write('', () => process.exit(0)) // editors leave timers behind
