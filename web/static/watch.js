// A watch that never gives up: one connection to /v1/watch for a set of topics, opened
// again after any close, where it stood if the gateway can tell. What carries it, the clock and
// chance are given, so that tests can be exact.
//
// A transport is {name, open(request, on)}: request is {topics, cursor}; on.message(object) for each
// message, on.alive() for any other sign of life, on.closed({status, problem, code, retryAfter}) once, at
// the end or instead of a beginning, but not after its close(): with a code, the gateway itself closed it, and
// it isn't the transport's fault. It gives {close()}.

// beat is the longest silence of a healthy watch; after 2.5 of them it is dead.
export const beat = 15_000

const opening = 10_000 // for the first message to come
const stable = 10_000 // a connection that lived as long starts the delays anew
const windows = [1000, 2000, 3000, 5000, 5000, 5000, 8000, 15_000, 30_000]
const noSocketFor = 600_000 // where sockets are cut, they aren't tried again for as long

// delay draws the time until the next attempt from the whole of its window: after the kth failure in
// a row, and not before a Retry-After (milliseconds).
export function delay(k, random, retryAfter = 0) {
  const window = windows[Math.min(k, windows.length - 1)]
  return Math.min(retryAfter, 300_000) + random() * window
}

export class Watch {
  #o
  #live // the open connection: {close, transport, since}
  #timer
  #cursor = ""
  #seqs = new Map() // by topic
  #failures = 0
  #gapAt = -Infinity
  #ended = false

  // options: topics; from, the place() of another watch, for topics of which what it said is still known;
  // transports, the preferred first; memory, an object that all watches of a page share;
  // clock {now, setTimeout, clearTimeout}; random; and what is called:
  // onMessage(message) for each of a topic, in order; if it throws, onError(error), and the watch begins anew; onTime(ms), the gateway's clock;
  // onStatus({state, ...}): "connecting", "live", "waiting" with until and why, "refused" with a
  // problem; onUnauthorized(problem), after which, as after "refused", nothing more is tried.
  constructor(options) {
    this.#o = options
    const { cursor, seqs } = options.from ?? { cursor: "", seqs: new Map() }
    this.#seqs = new Map([...seqs].filter(([topic]) => options.topics.includes(topic)))
    if (this.#seqs.size > 0) this.#cursor = cursor
    this.#attempt()
  }

  // place is where it stands: another watch can go on from there with the topics that both have.
  place() {
    return { cursor: this.#cursor, seqs: this.#seqs }
  }

  // close ends it; nothing is called any more.
  close() {
    this.#ended = true
    this.#drop()
  }

  // now tries at once if it waits, and does nothing otherwise.
  now() {
    if (!this.#ended && !this.#live && this.#timer !== undefined) this.#attempt()
  }

  #attempt() {
    this.#drop()
    this.#o.onStatus({ state: "connecting" })
    const { transports, memory, clock } = this.#o
    const usable = transports.filter((t, i) => i === transports.length - 1 || !(memory.avoid?.[t.name] > clock.now()))
    this.#try(usable, [])
  }

  // try opens the first of the transports, and goes on to the next if nothing comes.
  #try([transport, ...others], failed) {
    const { clock, memory } = this.#o
    const mine = { transport, since: undefined }
    const current = () => this.#live === mine && !this.#ended
    const closed = (end = {}) => {
      if (!current()) return
      this.#drop()
      if (mine.since !== undefined) {
        this.#wait(end, clock.now() - mine.since >= stable)
      } else if (end.status === 401) {
        this.#ended = true
        this.#o.onUnauthorized(end.problem)
      } else if (end.status >= 400 && end.status < 500 && end.status !== 408 && end.status !== 429) {
        this.#refused(end)
      } else if (others.length > 0 && !end.code) {
        this.#try(others, [...failed, transport])
      } else {
        this.#wait(end, false)
      }
    }
    this.#live = mine
    this.#timeout(opening, () => closed())
    mine.close = () => {} // a transport may fail before it returns
    const alive = () => {
      if (mine.since === undefined) {
        mine.since = clock.now()
        memory.worked = { ...memory.worked, [transport.name]: true }
        for (const t of failed) {
          if (!memory.worked[t.name]) memory.avoid = { ...memory.avoid, [t.name]: clock.now() + noSocketFor }
        }
        this.#o.onStatus({ state: "live", transport: transport.name })
      }
      this.#timeout(2.5 * beat, () => closed({ silent: true }))
    }
    const connection = transport.open({ topics: this.#o.topics, cursor: this.#cursor }, {
      alive: () => current() && alive(),
      closed,
      message: (m) => {
        if (!current()) return
        alive()
        this.#take(m)
      },
    })
    if (current()) mine.close = () => connection.close()
    else connection.close()
  }

  #take(m) {
    if (m.time) this.#o.onTime?.(m.time)
    if (m.topic) {
      if (!m.snapshot && !m.problem && m.prev !== this.#seqs.get(m.topic)) {
        this.#gap()
        return
      }
      // First what the message says, then where that leads to.
      try {
        this.#o.onMessage(m)
      } catch (e) {
        this.#o.onError?.(e)
        this.#gap() // nobody knows how much of it was taken
        return
      }
      if (m.seq !== undefined) this.#seqs.set(m.topic, m.seq)
    }
    if (m.cursor) this.#cursor = m.cursor
  }

  // gap begins anew: what is known can't be continued.
  #gap() {
    const { clock } = this.#o
    const again = clock.now() - this.#gapAt < stable
    this.#gapAt = clock.now()
    this.#forget()
    this.#drop()
    if (again) this.#wait({}, false)
    else this.#attempt()
  }

  #refused(end) {
    if (end.status === 400 && this.#cursor) { // perhaps of the cursor alone
      this.#forget()
      this.#wait(end, false)
      return
    }
    this.#ended = true
    this.#o.onStatus({ state: "refused", problem: end.problem })
  }

  #forget() {
    this.#cursor = ""
    this.#seqs.clear()
  }

  #wait(end, wasStable) {
    const { clock, random } = this.#o
    if (wasStable) this.#failures = 0
    const ms = delay(this.#failures++, random, end.retryAfter)
    this.#o.onStatus({ state: "waiting", until: clock.now() + ms, why: end.problem })
    this.#timeout(ms, () => this.#attempt())
  }

  #timeout(ms, f) {
    const { clock } = this.#o
    clock.clearTimeout(this.#timer)
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined
      f()
    }, ms)
  }

  #drop() {
    this.#o.clock.clearTimeout(this.#timer)
    this.#timer = undefined
    const live = this.#live
    this.#live = undefined
    live?.close?.()
  }
}
