// Writes what real editors send to a server, one message a line, as generate_updates.mjs does: 2 to 4 people in one
// document, each with an editor in a page of their own, who type, paste, compose, format, undo, see each other late, and go
// offline and come back. After the `state` of a session comes its `content`: what everybody ends up with, as JSON. It is
// missing where an undo wrote something crossed, which copies of Yjs itself read differently (`crossed`, below).
//
// Usage: node generate_editor_updates.mjs <seed> <updates> <editor>...    at least so many of each
//        node generate_editor_updates.mjs read < lines    prints the content of each line's state (base64)
//        node generate_editor_updates.mjs merge < lines   prints each line's updates as one: merged, and as states of documents
//            that collect garbage and do not, and then states of documents that know a part, cut anywhere
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

// Whether something stands before what it should stand behind: its right origin is left of its origin. Yjs's undo may write
// that (yjs issue 794), and where it ends up depends on where a copy happens to have cut the text.
const crossed = doc => {
  const places = new Map() // of the first clock of every item in its list
  const found = []
  for (const structs of doc.store.clients.values()) {
    for (const item of structs) {
      if (item instanceof Y.Item && item.left === null) {
        let place = 0
        for (let each = item; each !== null; each = each.right) {
          places.set(each, place++)
          found.push(each)
        }
      }
    }
  }
  return found.some(item => item.parentSub === null && item.origin !== null && item.rightOrigin !== null &&
    places.get(Y.getItem(doc.store, item.rightOrigin)) <= places.get(Y.getItem(doc.store, item.origin)) &&
    !(item.origin.client === item.rightOrigin.client && item.origin.clock < item.rightOrigin.clock))
}

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
  if (!crossed(room)) write(session, 'content', Buffer.from(content(room)))
}

// A document that knows each client up to any clock, as far as that needs nothing it does not know.
const partOf = (doc, below) => {
  const some = new Map([...Y.decodeStateVector(Y.encodeStateVector(doc))].map(([client, clock]) => [client, below(3) ? below(clock + 1) : clock]))
  const until = clocks => Y.createDocFromSnapshot(doc, Y.createSnapshot(Y.createDeleteSet(), clocks), new Y.Doc({ gc: false }))
  return until(Y.decodeStateVector(Y.encodeStateVector(until(some))))
}

let written = 0
const [seed, wanted, ...editors] = process.argv.slice(2)
if (seed === 'read') {
  for await (const line of createInterface({ input: process.stdin })) {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, Buffer.from(line, 'base64'))
    console.log(content(doc))
  }
} else if (seed === 'merge') {
  const { below } = seeded(Number(wanted))
  for await (const line of createInterface({ input: process.stdin })) {
    const updates = line.split(' ').map(update => Buffer.from(update, 'base64'))
    const [collected, kept] = [true, false].map(gc => {
      const doc = new Y.Doc({ gc })
      updates.forEach(update => Y.applyUpdate(doc, update))
      return doc
    })
    const states = [collected, kept, ...Array.from({ length: 8 }, () => partOf(kept, below))].map(doc => Y.encodeStateAsUpdate(doc))
    console.log([Y.mergeUpdates(updates), ...states].map(bytes => Buffer.from(bytes).toString('base64')).join(' '))
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
