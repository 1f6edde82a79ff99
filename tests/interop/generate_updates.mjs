// Writes what real Yjs clients send to a server, one message a line: `<session> <kind> <bytes> <base64>`.
//
// Each session is a room and a few clients that edit all shared types, go offline, come back with everything merged,
// as a difference or as their whole state, undo and redo. The lines of a session are in the order a server gets them, and
// none needs what an earlier line did not bring. Kinds: `update` is one of those; `state`, or `state_after_cut_pairs` where
// emoji were cut in their middle, is the room's state vector at the end of the session; the others are named after a
// feature the server refuses.
//
// Usage: node generate_updates.mjs <seed> <updates>
import * as Y from 'yjs'
import { seeded } from './seeded.mjs'

const [seed, wanted] = process.argv.slice(2).map(Number)

const { below, pick, chance } = seeded(seed)

const WORDS = ['a', 'the ', '\n', 'zażółć ', 'δ', '漢字', '😀', '👩‍👩‍👧 ', 'e\u0301', '\u0000', '"quoted" ', '{', 'x'.repeat(300)]
const HALF_PAIR = '\ud83d' // what slicing text in the middle of an emoji leaves; it goes out as U+FFFD
const CLIENT_IDS = [1, 77, 2 ** 31, 2 ** 32 - 1, 2 ** 53 - 1]

const scalar = () => pick([
  null, undefined, true, false, 0, -1, 63, -64, 2 ** 31 - 1, -(2 ** 31), 2 ** 53 - 1, 0.5, 1e300, NaN, -Infinity,
  10n, -(2n ** 63n), '', 'text', HALF_PAIR, pick(WORDS), new Uint8Array([0, 255, below(256)]), new Uint8Array(0)
])
const value = (depth = 0) => {
  if (depth > 4 || chance(0.6)) return scalar()
  const size = below(4)
  if (chance(0.5)) return Array.from({ length: size }, () => value(depth + 1))
  return Object.fromEntries(Array.from({ length: size }, (_, i) => [pick(WORDS) + i, value(depth + 1)]))
}
// Y.Array takes undefined and bigint only deeper down.
const arrayItem = () => {
  const item = value()
  return item === undefined || typeof item === 'bigint' ? [item] : item
}
const json = () => pick([
  { image: 'data:image/png;base64,' + 'A'.repeat(below(400)) }, { formula: '[{}]'.repeat(40) }, 'word', 12.5, 1e21, -7,
  123456789012345680000, { nested: [[[{ a: null }]]] }, [], true
])
const attributes = () => pick([
  { bold: true }, { bold: null }, { italic: true, color: '#f00' }, { link: { href: 'https://example.com/?q=ü' } }, { size: 12 }
])

const sharedType = () => pick([
  () => new Y.Map(Object.entries({ a: scalar(), b: 'x' })), () => Y.Array.from([arrayItem(), arrayItem()]), () => new Y.Text('inner'),
  () => new Y.XmlElement('p'), () => new Y.XmlText('xml'), () => new Y.XmlFragment()
])()

// Editors move by characters, yet a careless one can cut an emoji in its middle; Yjs then makes U+FFFD of both halves.
let cutsPairs = false
const characters = text => text.toDelta().map(op => typeof op.insert === 'string' ? op.insert : '.').join('')
const boundary = (all, at) => !cutsPairs && at > 0 && all.codePointAt(at - 1) > 0xffff ? at + 1 : at

const editText = text => {
  const all = characters(text)
  const at = boundary(all, below(all.length + 1))
  const end = boundary(all, Math.min(all.length, at + 1 + below(9)))
  const isLast = at === end
  switch (below(7)) {
    case 0: if (!isLast) text.delete(at, end - at); break
    case 1: if (!isLast) text.format(at, end - at, attributes()); break
    case 2: text.insertEmbed(at, json(), chance(0.3) ? attributes() : undefined); break
    case 3: if (chance(0.2)) text.insertEmbed(at, sharedType()); else text.insert(at, pick(WORDS), attributes()); break
    case 4: text.applyDelta([{ retain: at }, { insert: pick(WORDS) }, ...(isLast ? [] : [{ delete: end - at }])]); break
    case 5: text.insert(at, chance(0.1) ? HALF_PAIR + ' ' : pick(WORDS)); break
    default: text.insert(all.length, pick(WORDS))
  }
}
const editArray = array => {
  const at = below(array.length + 1)
  const rest = array.length - at
  if (rest && chance(0.3)) array.delete(at, 1 + below(Math.min(rest, 3)))
  else if (chance(0.4)) array.insert(at, [sharedType()])
  else array.insert(at, Array.from({ length: 1 + below(3) }, arrayItem))
  editInside(array.toArray())
}
const editMap = map => {
  const key = 'key' + below(5)
  if (chance(0.2)) map.delete(key)
  else map.set(key, chance(0.3) ? sharedType() : value())
  editInside([...map.values()])
}
const editXml = fragment => {
  const at = below(fragment.length + 1)
  if (fragment.length > at && chance(0.3)) fragment.delete(at, 1)
  else fragment.insert(at, [chance(0.6) ? new Y.XmlElement('h' + below(4)) : new Y.XmlText('words')])
  const child = pick(fragment.toArray())
  if (child instanceof Y.XmlElement) {
    if (chance(0.5)) child.setAttribute(pick(['class', 'id']), pick(WORDS))
    if (chance(0.2)) child.removeAttribute('class')
    if (chance(0.5)) editXml(child)
  } else if (child instanceof Y.XmlText) editText(child)
}
const editInside = children => {
  const child = pick(children)
  if (child instanceof Y.AbstractType && chance(0.5)) editType(child)
}
const editType = type => {
  if (type instanceof Y.XmlElement || type instanceof Y.XmlFragment) editXml(type)
  else if (type instanceof Y.Text) editText(type)
  else if (type instanceof Y.Array) editArray(type)
  else if (type instanceof Y.Map) editMap(type)
}

const rootsOf = doc => [doc.getText('content'), doc.getText(''), doc.getMap('map'), doc.getArray('list'), doc.getXmlFragment('xml')]

let written = 0
const lines = []
const write = (session, kind, bytes) => {
  lines.push(`${session} ${kind} ${bytes.length} ${Buffer.from(bytes).toString('base64')}\n`)
}

class Client {
  constructor (session, room, id) {
    this.session = session
    this.room = room
    this.doc = new Y.Doc({ gc: chance(0.8) })
    this.doc.clientID = id
    this.online = true
    this.held = []
    this.doc.on('update', (update, origin) => {
      if (origin === 'room') return
      if (this.online) this.send(update)
      else this.held.push(update)
    })
    this.roots = rootsOf(this.doc)
    this.undo = new Y.UndoManager(this.roots, { captureTimeout: 0 })
    this.catchUp()
  }

  send (update) {
    write(this.session, 'update', update)
    written++
    Y.applyUpdate(this.room, update, this)
  }

  catchUp () {
    Y.applyUpdate(this.doc, Y.encodeStateAsUpdate(this.room, Y.encodeStateVector(this.doc)), 'room')
  }

  edit () {
    if (chance(0.06)) this.undo.undo()
    else if (chance(0.04)) this.undo.redo()
    else this.doc.transact(() => { for (let i = chance(0.1) ? 4 : 1; i > 0; i--) editType(pick(this.roots)) }, chance(0.8) ? null : 'other')
  }

  // Offline edits may come back in any of the three ways a provider has.
  comeBack () {
    this.online = true
    if (this.held.length === 0) return
    const back = below(3)
    if (back === 0) this.send(Y.mergeUpdates(this.held))
    else if (back === 1) this.send(Y.encodeStateAsUpdate(this.doc, Y.encodeStateVector(this.room)))
    else this.send(Y.encodeStateAsUpdate(this.doc))
    this.held = []
  }
}

const playSession = session => {
  cutsPairs = session % 4 === 3
  const room = new Y.Doc({ gc: chance(0.8) })
  const ids = CLIENT_IDS.slice()
  const clients = Array.from({ length: 2 + below(3) }, () => new Client(session, room, chance(0.3) ? ids.splice(below(ids.length), 1)[0] : 1 + below(2 ** 32 - 1)))
  room.on('update', (update, sender) => clients.forEach(client => {
    if (client.online && client !== sender) Y.applyUpdate(client.doc, update, 'room')
  }))
  for (let step = 0; step < 120; step++) {
    const client = pick(clients)
    client.edit()
    if (chance(0.05)) client.online = false
    else if (!client.online && chance(0.2)) { client.comeBack(); client.catchUp() }
  }
  clients.forEach(client => { client.comeBack(); client.catchUp() })
  write(session, cutsPairs ? 'state_after_cut_pairs' : 'state', Y.encodeStateVector(room))
}

const writeRefused = session => {
  const single = (kind, edit) => {
    const doc = new Y.Doc()
    doc.clientID = 1
    edit(doc)
    write(session, kind, Y.encodeStateAsUpdate(doc))
  }
  single('subdocument', doc => doc.getMap('map').set('sub', new Y.Doc({ guid: 'sub' })))
  single('subdocument', doc => doc.getArray('list').insert(0, [new Y.Doc({ guid: 'sub', autoLoad: true, meta: { a: 1 } })]))
  single('xml_hook', doc => doc.getXmlFragment('xml').insert(0, [new Y.XmlHook('widget')]))
  single('json', doc => doc.getText('content').insertEmbed(0, { caption: HALF_PAIR }))
}

let session = 0
while (written < wanted) playSession(session++)
writeRefused(session)
process.stdout.write(lines.join(''))
