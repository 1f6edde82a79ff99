// Conditions a test waits for: looked at after every change, never polled, each with a deadline.
// Called by client.mjs, which says when something changed.
export class Waits {
  // conditions: name -> (wanted) => boolean; describe: () => a sentence for the one who waited in vain.
  constructor (conditions, describe) {
    this.conditions = conditions
    this.describe = describe
    this.pending = new Set()
  }

  until (name, wanted, deadline) {
    const met = this.conditions[name]
    if (met === undefined) throw new Error(`no such condition: ${name}`)
    return new Promise((resolve, reject) => {
      const wait = { met: () => met(wanted), resolve: () => { clearTimeout(timer); resolve() } }
      const timer = setTimeout(() => {
        this.pending.delete(wait)
        reject(new Error(`not within ${deadline} ms: ${name} ${JSON.stringify(wanted).slice(0, 300)}; ${this.describe()}`))
      }, deadline)
      this.pending.add(wait)
      this.look()
    })
  }

  look () {
    for (const wait of this.pending) {
      if (wait.met()) {
        this.pending.delete(wait)
        wait.resolve()
      }
    }
  }
}
