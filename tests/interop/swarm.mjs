// Many stock y-websocket clients in one process, who type, count what is acknowledged, and note how long they were away.
//
//   node swarm.mjs '{"url": "ws://127.0.0.1:8081/ws", "clients": 60, "rooms": 15, "edit_every_ms": 1000, "visits_per_s": 1}'
//
// On stdout one JSON a line: {"said": "ready"} once all are synced; then an answer to each word on stdin:
// `quiet`: typing ends, and the answer comes when everything that was typed is acknowledged; `report`: everything that was
// acknowledged, by room, and every absence with the milliseconds (of the epoch) at which it began, at which the client was
// synced again, and at which the edit it then made was acknowledged. Its providers are as published.
// Visitors come to a room of their own, type once, wait for the acknowledgement and go, with the only copy but the server's.
// Called by bench/rolling.py. It ends with its stdin.
import * as decoding from 'lib0/decoding'
import { createInterface } from 'node:readline'
import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

const { url, clients, rooms, edit_every_ms: editEveryMs, visits_per_s: visitsPerS } = JSON.parse(process.argv[2])
const TOKEN = /⟦[^⟧]+⟧/g
const JOIN_AT_ONCE = 20

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const acknowledged = new Map() // room -> tokens
const absences = []
let visits = 0
let typing = true

console.warn = console.error // stdout belongs to the answers
process.setMaxListeners(0) // each provider listens for the exit

// With `?ack=1` nothing of what a client wrote comes back before its commit: an update with our own token acknowledges it.
const UPDATE = 2
const watched = (client) => class extends WebSocket {
  constructor (...words) {
    super(...words)
    this.on('message', (frame) => {
      const decoder = decoding.createDecoder(new Uint8Array(frame))
      if (decoding.readVarUint(decoder) !== 0 || decoding.readVarUint(decoder) !== UPDATE) return
      client.heard(new TextDecoder().decode(decoding.readVarUint8Array(decoder)))
    })
  }
}

class Client {
  constructor (name, room) {
    this.name = name
    this.room = room
    this.edits = 0
    this.unconfirmed = new Set()
    this.absence = null
    this.comeback = null // the token typed after an absence
    this.doc = new Y.Doc()
    this.text = this.doc.getText('content')
    this.provider = new WebsocketProvider(url, room, this.doc, {
      params: { ack: '1' }, connect: false, disableBc: true, WebSocketPolyfill: watched(this)
    })
    this.provider.on('connection-close', () => {
      if (this.absence !== null || !this.provider.shouldConnect || !this.joined) return
      this.absence = { left_ms: Date.now(), synced_ms: null, edited_ms: null }
      absences.push(this.absence)
    })
    this.provider.on('sync', (synced) => {
      if (!synced || this.absence === null || this.absence.synced_ms !== null) return
      this.absence.synced_ms = Date.now()
      this.comeback = this.type()
    })
  }

  async join () {
    this.provider.connect()
    if (!this.provider.synced) await new Promise((resolve) => this.provider.once('sync', resolve))
    this.joined = true
  }

  type () {
    this.edits += 1
    const token = `⟦${this.name}-${this.edits}⟧`
    this.unconfirmed.add(token)
    this.text.insert(this.text.length, token)
    return token
  }

  heard (text) {
    for (const token of text.match(TOKEN) ?? []) {
      if (!this.unconfirmed.delete(token)) continue
      if (!acknowledged.has(this.room)) acknowledged.set(this.room, [])
      acknowledged.get(this.room).push(token)
      if (token === this.comeback) {
        this.absence.edited_ms = Date.now()
        this.absence = this.comeback = null
      }
    }
    this.settled?.()
  }
}

const crew = Array.from({ length: clients }, (_, number) => new Client(`m${number}`, `rolling-${number % rooms}`))

const joinAll = async () => {
  const waiting = [...crew]
  await Promise.all(Array.from({ length: JOIN_AT_ONCE }, async () => {
    while (waiting.length > 0) await waiting.shift().join()
  }))
}

const visit = async () => {
  visits += 1
  const visitor = new Client(`v${visits}`, `visited-${visits}`)
  await visitor.join()
  const done = new Promise((resolve) => { visitor.settled = () => visitor.unconfirmed.size === 0 && resolve() })
  visitor.type()
  await done
  visitor.provider.destroy()
}

const quiet = async () => {
  typing = false
  while (crew.some((client) => client.unconfirmed.size > 0 || !client.provider.synced)) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  say({ said: 'quiet' })
}

const report = () => say({
  said: 'report',
  acknowledged: Object.fromEntries(acknowledged),
  absences,
  visits,
  synced: crew.filter((client) => client.provider.synced).length
})

createInterface({ input: process.stdin })
  .on('line', (word) => ({ quiet, report })[word]())
  .on('close', () => process.exit(0))

await joinAll()
crew.forEach((client, number) => setTimeout(() => setInterval(() => {
  if (typing && client.provider.synced) client.type()
}, editEveryMs), editEveryMs * number / clients))
if (visitsPerS > 0) setInterval(() => typing && visit(), 1000 / visitsPerS)
say({ said: 'ready' })
