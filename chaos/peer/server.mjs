// Hocuspocus with its SQLite extension as its documentation starts them, all options at their defaults: a changed document
// is stored 2 s after its last change and 10 s after the first at the latest. Usage: node server.mjs PORT DATABASE
import { SQLite } from '@hocuspocus/extension-sqlite'
import { Server } from '@hocuspocus/server'

const [port, database] = process.argv.slice(2)
const server = new Server({
  address: '127.0.0.1',
  port: Number(port),
  quiet: true,
  extensions: [new SQLite({ database })]
})
await server.listen()
console.log('ready')
