// The stock y-websocket provider. Its acknowledgement (`?ack=1`) is our own message coming back, byte for byte: the
// provider takes it for news it has already; we look at its socket to see it.
import * as decoding from 'lib0/decoding'
import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'

const STEP_2 = 1
const UPDATE = 2
const LAST_WORDS_MS = 500

const sync = (frame) => {
  const decoder = decoding.createDecoder(new Uint8Array(frame))
  if (decoding.readVarUint(decoder) !== 0) return {}
  return { step: decoding.readVarUint(decoder), update: decoding.readVarUint8Array(decoder) }
}

const watched = (author) =>
  class extends WebSocket {
    constructor (url, protocols) {
      super(url, protocols)
      this.waiting = []
      this.on('message', (frame) => this.heard(frame))
    }

    send (frame, ...rest) {
      const { step, update } = sync(frame)
      if (step === STEP_2 || step === UPDATE) {
        this.waiting.push({ update, carried: author.carriedBy(update, { isAnswer: step === STEP_2 }) })
      }
      super.send(frame, ...rest)
    }

    // Echoes come in order: what stands before a match was passed over and is not taken for durable.
    heard (frame) {
      const { step, update } = sync(frame)
      if (step !== UPDATE) return
      const place = this.waiting.findIndex((sent) => Buffer.compare(sent.update, update) === 0)
      if (place < 0) return
      author.confirmed(this.waiting[place].carried)
      this.waiting.splice(0, place + 1)
    }
  }

export const connect = ({ url, document, token, author }) => {
  const provider = new WebsocketProvider(url, document, author.doc, {
    params: { ack: '1', ...(token ? { token } : {}) },
    WebSocketPolyfill: watched(author),
    disableBc: true // the crew shares a process: nothing may reach the others but through the server
  })
  let trouble = 'it does not answer'
  provider.on('connection-error', (event) => { trouble = event.message })
  provider.on('connection-close', (event) => { if (event) trouble = `closed with ${event.code} ${event.reason}` })
  return {
    isSynced: () => provider.synced,
    trouble: () => trouble,
    cut: () => provider.ws?.terminate(),
    come: () => provider.connect(),
    // The connection of a server that was killed ends by itself, after what it still brings.
    leave: async () => {
      provider.shouldConnect = false
      const socket = provider.ws
      if (socket !== null && socket.readyState !== WebSocket.CLOSED) {
        await new Promise((resolve) => {
          socket.once('close', resolve)
          setTimeout(resolve, LAST_WORDS_MS)
        })
      }
      provider.disconnect()
    },
    end: () => provider.destroy()
  }
}
