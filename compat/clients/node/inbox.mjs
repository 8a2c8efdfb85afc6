// Where libraries that call back with each record meet polls.

/**
 * Hands records over one at a time: who offers one waits until a poll has taken it, and so reads no further than the
 * polls, as a program does that works on its records.
 */
export class Inbox {
  #offers = []
  #closed = false
  #wake = () => {}

  /** Resolves to whether a poll took it; false where it was dropped. */
  offer (record) {
    if (this.#closed) {
      return Promise.resolve(false)
    }
    return new Promise(resolve => {
      this.#offers.push({ record, resolve })
      this.#wake()
    })
  }

  /** At most `count` records, as soon as they are there or at the timeout. */
  async poll (count, timeoutMs) {
    const deadline = Date.now() + timeoutMs
    const records = []
    while (records.length < count) {
      const offer = this.#offers.shift()
      if (offer) {
        records.push(offer.record)
        offer.resolve(true)
        continue
      }
      const left = deadline - Date.now()
      if (left <= 0) {
        break
      }
      await this.#somethingOffered(left)
    }
    return records
  }

  /** Forgets what is offered, or of that what `unwanted` is true for. */
  drop (unwanted = () => true) {
    const [gone, kept] = [[], []]
    for (const offer of this.#offers) {
      (unwanted(offer.record) ? gone : kept).push(offer)
    }
    this.#offers = kept
    gone.forEach(({ resolve }) => resolve(false))
  }

  close () {
    this.#closed = true
    this.drop()
  }

  #somethingOffered (timeoutMs) {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, timeoutMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
