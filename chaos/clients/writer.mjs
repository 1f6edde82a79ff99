// A crew of stock clients in one process: commands come as lines of JSON on standard input, answers and reports leave on
// standard output. Usage: node writer.mjs y-websocket|hocuspocus. Driven by chaos/node_crew.py.
import { createInterface } from 'node:readline'
import { Author, chanceOf } from './author.mjs'

const DEADLINE_MS = 30_000
const REPORT_EVERY_MS = 5
const MADE_UP_FOR_MS = 100

const { connect } = await import(`./${process.argv[2]}.mjs`)
const crew = new Map() // writer -> { author, link }
const numbers = new Map()
const chances = new Map()
let typing = null

// Reports are gathered for a few milliseconds; an answer never overtakes the reports before it.
let reports = []
const flush = () => {
  if (reports.length > 0) process.stdout.write(JSON.stringify({ reports }) + '\n')
  reports = []
}
setInterval(flush, REPORT_EVERY_MS)
const reportTo = (writer) => (told) => reports.push([writer, told])

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

const synced = async (link, document) => {
  const deadline = Date.now() + DEADLINE_MS
  while (!link.isSynced()) {
    if (Date.now() > deadline) throw new Error(`${document}: ${link.trouble()}`)
    await pause(2)
  }
}

const close = () => {
  clearInterval(typing)
  typing = null
  for (const { author, link } of crew.values()) {
    link.end()
    author.doc.destroy()
  }
  crew.clear()
}

// All of a crew's strokes are spread evenly; a timer that comes late makes up for some of them, and then lets others work.
const type = (editsPerS) => {
  let due = Date.now()
  let next = 0
  return setInterval(() => {
    const members = [...crew.values()]
    const now = Date.now()
    due = Math.max(due, now - MADE_UP_FOR_MS)
    for (; due <= now; due += 1000 / (editsPerS * members.length)) members[next++ % members.length].author.edit()
  }, 2)
}

const commands = {
  async open ({ writers, url, document, token, seed }) {
    close()
    for (const writer of writers) {
      if (!numbers.has(writer)) numbers.set(writer, { last: 0 })
      if (!chances.has(writer)) chances.set(writer, chanceOf(seed * 100 + writer))
      const author = new Author(writer, numbers.get(writer), chances.get(writer), reportTo(writer))
      crew.set(writer, { author, link: connect({ url, document, token, author }) })
    }
    await Promise.all([...crew.values()].map(({ link }) => synced(link, document)))
  },
  async be ({ mode, edits_per_s: editsPerS }) {
    clearInterval(typing)
    typing = null
    const links = [...crew.values()].map(({ link }) => link)
    if (mode === 'away') await Promise.all(links.map((link) => link.leave()))
    else for (const link of links) link.come()
    if (mode === 'typing') typing = type(editsPerS)
  },
  cut ({ writer }) {
    crew.get(writer).link.cut()
  },
  replicas () {
    return [...crew].map(([writer, { author }]) => ({ writer, ...author.replica() }))
  },
  async read ({ url, document, token }) {
    const author = new Author(0, { last: 0 }, Math.random, () => {})
    const link = connect({ url, document, token, author })
    try {
      await synced(link, document)
      return author.replica()
    } finally {
      link.end()
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...wanted } = JSON.parse(line)
  const answer = (found) => {
    flush()
    process.stdout.write(JSON.stringify({ id, ...found }) + '\n')
  }
  Promise.resolve()
    .then(() => commands[command](wanted))
    .then((found = null) => answer({ found }), (error) => answer({ error: error.message }))
}
process.exit(0)
