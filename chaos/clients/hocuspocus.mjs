// The stock Hocuspocus provider, with its defaults. Its acknowledgement: `unsyncedChanges` has come down to 0, so that its
// `hasUnsyncedChanges` is false.
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import WebSocket from 'ws'

const LAST_WORDS_MS = 500

export const connect = ({ url, document, token, author }) => {
  const websocketProvider = new HocuspocusProviderWebsocket({
    url,
    WebSocketPolyfill: WebSocket,
    autoConnect: true
  })
  const provider = new HocuspocusProvider({ websocketProvider, name: document, document: author.doc, token: token ?? '' })
  let trouble = 'it does not answer'
  let isAway = false
  provider.on('authenticationFailed', ({ reason }) => { trouble = reason })
  provider.on('unsyncedChanges', ({ number }) => {
    if (number === 0) author.confirmed(author.everything())
  })
  provider.attach()
  return {
    isSynced: () => provider.isSynced,
    trouble: () => trouble,
    cut: () => websocketProvider.webSocket?.terminate?.(),
    come: () => {
      if (!isAway) return
      isAway = false
      websocketProvider.connect()
    },
    leave: async () => {
      isAway = true
      const socket = websocketProvider.webSocket
      websocketProvider.shouldConnect = false
      if (socket && socket.readyState !== WebSocket.CLOSED) {
        await new Promise((resolve) => {
          socket.once('close', resolve)
          setTimeout(resolve, LAST_WORDS_MS)
        })
      }
      websocketProvider.disconnect()
    },
    end: () => {
      provider.destroy()
      websocketProvider.destroy()
    }
  }
}
