// The document of one interop client: a root of each Yjs type, what a test can do to them, and what it can read.
// Called by client.mjs; knows nothing of networks. Every edit is one transaction, as in an editor.
import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import * as Y from 'yjs'

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

// JSON has no bytes: {"bytes": "base64"} stands for a Uint8Array in both directions; {"map": {}} and {"array": []} make
// nested shared types.
const fromJson = (value) => {
  if (value === null || typeof value !== 'object') return value
  if (Object.hasOwn(value, 'bytes')) return new Uint8Array(Buffer.from(value.bytes, 'base64'))
  if (Object.hasOwn(value, 'map')) return new Y.Map(Object.entries(value.map).map(([key, inner]) => [key, fromJson(inner)]))
  if (Object.hasOwn(value, 'array')) return Y.Array.from(value.array.map(fromJson))
  return value
}
const toJson = (value) => {
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('base64') }
  if (Array.isArray(value)) return value.map(toJson)
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toJson(inner)]))
  }
  return value
}

export class LiveDocument {
  static VERBS = [
    'insert', 'type', 'paste', 'delete', 'format', 'embed', 'map_set', 'map_delete', 'array_insert', 'array_delete',
    'xml_insert', 'xml_attribute', 'subdocument', 'undo', 'redo', 'state', 'digest'
  ]

  doc = new Y.Doc()
  text = this.doc.getText('content')
  map = this.doc.getMap('map')
  array = this.doc.getArray('array')
  xml = this.doc.getXmlFragment('xml')
  // captureTimeout 0: each edit is its own undo step
  history = new Y.UndoManager([this.text, this.map, this.array, this.xml], { captureTimeout: 0 })

  insert ({ at, text, attributes }) { this.text.insert(at, text, attributes) }
  delete ({ at, length }) { this.text.delete(at, length) }
  format ({ at, length, attributes }) { this.text.format(at, length, attributes) }
  embed ({ at, value }) { this.text.insertEmbed(at, value) }

  // Character by character from `at`, the caret moving with what others write, as an editor's does.
  async type ({ at, text }) {
    let caret = Y.createRelativePositionFromTypeIndex(this.text, at, -1)
    for (const character of text) {
      const { index } = Y.createAbsolutePositionFromRelativePosition(caret, this.doc)
      this.text.insert(index, character)
      caret = Y.createRelativePositionFromTypeIndex(this.text, index + character.length, -1)
      await setImmediate() // lets frames of the others in between two keystrokes
    }
  }

  // `times` copies of `text`, each its own update: a large document without one large frame. Pasted at the start each
  // stays a struct of its own; pasted at the end they merge into one.
  async paste ({ text, times, to = 'end' }) {
    for (let time = 0; time < times; time++) {
      this.text.insert(to === 'start' ? 0 : this.text.length, text)
      await setImmediate()
    }
  }

  map_set ({ key, value }) { this.map.set(key, fromJson(value)) }
  map_delete ({ key }) { this.map.delete(key) }
  array_insert ({ at, values }) { this.array.insert(at, values.map(fromJson)) }
  array_delete ({ at, length }) { this.array.delete(at, length) }

  xml_insert ({ at, name, attributes = {}, text }) {
    const element = new Y.XmlElement(name)
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
    if (text !== undefined) element.insert(0, [new Y.XmlText(text)])
    this.xml.insert(at, [element])
  }

  xml_attribute ({ at, key, value }) { this.xml.get(at).setAttribute(key, value) }
  subdocument ({ key }) { this.map.set(key, new Y.Doc()) }
  undo () { return this.history.undo() !== null }
  redo () { return this.history.redo() !== null }

  state () {
    return {
      text: this.text.toString(),
      delta: this.text.toDelta(),
      map: toJson(this.map.toJSON()),
      array: toJson(this.array.toJSON()),
      xml: this.xml.toString(),
      ...this.digest()
    }
  }

  // Equal snapshots = the same structs and the same deletions, however each replica happens to have merged them.
  digest () {
    const update = Y.encodeStateAsUpdate(this.doc)
    return {
      snapshot: sha256(Y.encodeSnapshot(Y.snapshot(this.doc))),
      text_sha: sha256(this.text.toString()),
      text_length: this.text.length,
      state_vector: Buffer.from(Y.encodeStateVector(this.doc)).toString('base64'),
      update_sha: sha256(update),
      update_bytes: update.length,
      // structs or deletions that wait for others this replica never got
      pending: this.doc.store.pendingStructs !== null || this.doc.store.pendingDs !== null
    }
  }
}
