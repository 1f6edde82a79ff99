// One writer's copy of a document: types and deletes tokens at random places between tokens. Counterpart of chaos/author.py.
import * as Y from 'yjs'

const TOKEN = /⟦c\d{2}-\d{6}⟧/g
const WIDTH = 12
const DELETED_SHARE = 0.1
const OURS = Symbol('ours')

// A small seeded generator (mulberry32): the same seed types the same.
export const chanceOf = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
}

export class Author {
  // `numbers` is shared by all copies a writer ever has, so that no token comes twice.
  constructor (writer, numbers, chance, note) {
    this.doc = new Y.Doc()
    this.text = this.doc.getText('content')
    this.writer = writer
    this.numbers = numbers
    this.chance = chance
    this.note = note
    this.standing = []
    this.unconfirmed = new Set()
    this.unconfirmedDeletions = new Set()
    this.deleting = null // the token whose deletion is being sent at this moment
  }

  edit () {
    if (this.standing.length > 1 && this.chance() < DELETED_SHARE) return this.delete()
    this.numbers.last += 1
    const name = `⟦c${String(this.writer).padStart(2, '0')}-${String(this.numbers.last).padStart(6, '0')}⟧`
    const place = Math.floor(this.chance() * (this.text.length / WIDTH + 1)) * WIDTH
    this.standing.push(name)
    this.unconfirmed.add(name)
    this.note({ sent: [name] })
    this.doc.transact(() => this.text.insert(place, name), OURS)
  }

  delete () {
    const [name] = this.standing.splice(Math.floor(this.chance() * this.standing.length), 1)
    const place = this.text.toString().indexOf(name)
    this.unconfirmedDeletions.add(name)
    this.note({ deleted: [name] })
    this.deleting = name
    this.doc.transact(() => this.text.delete(place, WIDTH), OURS)
    this.deleting = null
  }

  // Which of our edits are in a message that is being sent: an answer to a state vector carries every deletion.
  carriedBy (update, { isAnswer }) {
    const names = new TextDecoder().decode(update).match(TOKEN) ?? []
    return {
      tokens: names.filter((name) => this.unconfirmed.has(name)),
      deletions: isAnswer ? [...this.unconfirmedDeletions] : this.deleting === null ? [] : [this.deleting]
    }
  }

  everything () {
    return { tokens: [...this.unconfirmed], deletions: [...this.unconfirmedDeletions] }
  }

  confirmed ({ tokens, deletions }) {
    const acknowledged = tokens.filter((name) => this.unconfirmed.delete(name))
    const gone = deletions.filter((name) => this.unconfirmedDeletions.delete(name))
    if (acknowledged.length + gone.length > 0) this.note({ acknowledged, deletions_acknowledged: gone })
  }

  replica () {
    const state = [...Y.decodeStateVector(Y.encodeStateVector(this.doc))]
    return { text: this.text.toString(), state }
  }
}
