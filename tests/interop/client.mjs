// One stock Yjs client, driven by a test: JSON commands on stdin, one a line; JSON answers on stdout.
//
//   -> {"id": 1, "do": "open", "version": "3.1.0", "url": "ws://127.0.0.1:8081/ws", "room": "demo"}
//   <- {"id": 1, "result": null}          or   {"id": 1, "error": "a sentence"}
//
// The WebsocketProvider is used exactly as published: nothing in it is patched, so what a test sees is what a user's
// browser does. Its only loss is BroadcastChannel, which would let clients meet without the server.
// Called by tests/services/node.py. The client ends with its stdin.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { isDeepStrictEqual } from 'node:util'
import WebSocket from 'ws'
import { LiveDocument } from './document.mjs'
import { Waits } from './waits.mjs'

const PACKAGES = {
  '1.5.4': 'y-websocket-1', '2.1.0': 'y-websocket-2', '3.1.0': 'y-websocket', '3.1.0-rc.5': 'y-websocket-rc'
}

const say = (answer) => process.stdout.write(JSON.stringify(answer) + '\n')

const document = new LiveDocument()
const events = []
let provider = null

const waits = new Waits({
  synced: () => provider.synced,
  disconnected: () => !provider.wsconnected,
  stored: () => provider.syncStatus.status === 'green',
  text: ({ equals, contains }) => equals === undefined
    ? document.text.toString().includes(contains)
    : document.text.length === equals.length && document.text.toString() === equals,
  length: ({ length }) => document.text.length === length,
  peers: ({ names }) => JSON.stringify(peerNames()) === JSON.stringify([...names].sort()),
  peer_field: ({ field, value }) => peers().some((state) => isDeepStrictEqual(state[field], value)),
  event: ({ name, since }) => events.slice(since).some((entry) => entry.event === name)
}, () => `the text is ${excerpt(document.text.toString())}, the peers are ${JSON.stringify(peerNames())}, ` +
  `synced ${provider?.synced}, events ${JSON.stringify(events.slice(-5))}`)

const note = (event, detail = {}) => { events.push({ event, ...detail }); waits.look() }
const excerpt = (text) => text.length > 200 ? `${JSON.stringify(text.slice(0, 200))}... (${text.length} long)` : JSON.stringify(text)

// The stock provider reports a denial with console.warn and nothing else; stdout belongs to the answers.
console.warn = (...words) => note(String(words[0]).startsWith('Permission denied') ? 'permission-denied' : 'warning',
  { message: words.join(' ') })
console.error = (...words) => note('error', { message: words.map((word) => word?.stack ?? String(word)).join(' ') })
console.log = console.error

const peers = () => [...provider.awareness.getStates()].filter(([id]) => id !== provider.awareness.clientID)
  .map(([, state]) => state)
const peerNames = () => peers().map((state) => state.user?.name ?? null).sort()

const open = async ({ version, url, room, params = {}, awareness, connect = true }) => {
  const published = createRequire(import.meta.url)(`${PACKAGES[version]}/package.json`).version
  if (published !== version) throw new Error(`${PACKAGES[version]} is ${published}, not ${version}`)
  const { WebsocketProvider } = await import(PACKAGES[version])
  provider = new WebsocketProvider(url, room, document.doc, {
    params, connect: false, disableBc: true, WebSocketPolyfill: WebSocket
  })
  provider.awareness.setLocalState(awareness ?? null)
  provider.awareness.on('change', () => waits.look())
  provider.on('status', ({ status }) => note('status', { status }))
  provider.on('sync-status', () => waits.look()) // 3.1.0-rc only
  provider.on('sync', (synced) => note('sync', { synced }))
  // code is null where the client itself closed: on disconnect(), or after 30 s in which it heard nothing
  provider.on('connection-close', (event) => note('connection-close', { code: event?.code ?? null, reason: event?.reason ?? '' }))
  provider.on('closed', ({ code, reason }) => note('closed', { code, reason }))
  document.doc.on('update', () => waits.look())
  if (connect) provider.connect()
}

const connection = {
  open,
  connect: () => provider.connect(),
  disconnect: () => provider.disconnect(),
  leave: () => provider.destroy(),
  wait: ({ until, deadline_ms: deadline, ...wanted }) => waits.until(until, wanted, deadline),
  awareness: ({ state }) => provider.awareness.setLocalState(state),
  peers,
  events: () => events,
  status: () => ({
    connected: provider.wsconnected,
    synced: provider.synced,
    sync_status: provider.syncStatus?.status ?? null, // 3.1.0-rc only
    client_id: document.doc.clientID,
    unsent_bytes: provider.ws?.bufferedAmount ?? 0
  })
}

const obey = async (line) => {
  const { id, do: verb, ...wanted } = JSON.parse(line)
  try {
    if (!Object.hasOwn(connection, verb) && !LiveDocument.VERBS.includes(verb)) throw new Error(`no such command: ${verb}`)
    const result = await (connection[verb] ?? document[verb].bind(document))(wanted)
    say({ id, result: result ?? null })
  } catch (error) {
    say({ id, error: error.message })
  }
}

createInterface({ input: process.stdin }).on('line', obey).on('close', () => process.exit(0))
