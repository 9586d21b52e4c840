import assert from "node:assert/strict"
import { test } from "node:test"
import { beat, delay, Watch } from "../static/watch.js"
import { EventStream } from "../static/transports.js"

// A clock that stands still until it is told to go on.
class Clock {
  time = 0
  timers = new Map()
  ids = 0
  now = () => this.time
  setTimeout = (f, ms) => {
    this.timers.set(++this.ids, { at: this.time + ms, f })
    return this.ids
  }
  clearTimeout = (id) => this.timers.delete(id)
  pass(ms) {
    const end = this.time + ms
    for (;;) {
      const [id, next] = [...this.timers].sort((a, b) => a[1].at - b[1].at)[0] ?? []
      if (!next || next.at > end) break
      this.time = next.at
      this.timers.delete(id)
      next.f()
    }
    this.time = end
  }
}

// A transport whose connections the test holds in its hands.
class Fake {
  open_ = []
  constructor(name) { this.name = name }
  open(request, on) {
    const c = { request, on, closed: false, close: () => { c.closed = true } }
    this.open_.push(c)
    return c
  }
  get last() { return this.open_.at(-1) }
  get count() { return this.open_.length }
}

function bed(more = {}) {
  const b = { clock: new Clock(), socket: new Fake("socket"), sse: new Fake("sse"), messages: [], statuses: [], unauthorized: [], errors: [], memory: {}, ...more }
  b.watch = new Watch({
    topics: b.topics ?? ["jobs"], from: b.from, transports: [b.socket, b.sse], memory: b.memory, clock: b.clock, random: () => 0.5,
    onMessage: (m) => b.take ? b.take(m) : b.messages.push(m), onError: (e) => b.errors.push(e.message), onStatus: (s) => b.statuses.push(s), onUnauthorized: (p) => b.unauthorized.push(p),
  })
  b.state = () => b.statuses.at(-1)?.state
  return b
}
const snapshot = (seq, cursor) => ({ topic: "jobs", snapshot: true, seq, cursor })
const delta = (prev, seq, cursor) => ({ topic: "jobs", prev, seq, cursor })

test("a socket carries it; a message makes it live", () => {
  const b = bed()
  assert.equal(b.state(), "connecting")
  assert.deepEqual(b.socket.last.request, { topics: ["jobs"], cursor: "" })
  b.socket.last.on.message(snapshot(1, "c1"))
  b.socket.last.on.message(delta(1, 2, "c2"))
  assert.equal(b.state(), "live")
  assert.equal(b.messages.length, 2)
  assert.equal(b.sse.count, 0)
})

test("a message that couldn't be taken isn't taken for one that was", () => {
  const b = bed()
  b.socket.last.on.message(snapshot(1, "c1"))
  b.take = (m) => { throw new Error(`broken at ${m.seq}`) }
  b.socket.last.on.message(delta(1, 2, "c2"))
  assert.deepEqual(b.errors, ["broken at 2"])
  assert.equal(b.socket.count, 2)
  assert.equal(b.socket.last.request.cursor, "") // all of it again
  assert.equal(b.socket.open_[0].closed, true)
  b.socket.last.on.message(snapshot(1, "c1")) // still broken: not without a pause
  assert.equal(b.state(), "waiting")
  b.take = undefined
  b.clock.pass(500)
  b.socket.last.on.message(snapshot(7, "c7"))
  b.socket.last.on.message(delta(7, 8, "c8"))
  assert.equal(b.state(), "live")
  assert.deepEqual(b.messages.map((m) => m.seq), [1, 7, 8])
})

test("after any close it goes on where it stood", () => {
  const b = bed()
  b.socket.last.on.message(snapshot(1, "c1"))
  b.socket.last.on.message(delta(1, 5, "c5"))
  b.socket.last.on.closed({})
  assert.equal(b.state(), "waiting")
  assert.equal(b.statuses.at(-1).until, 500)
  b.clock.pass(499)
  assert.equal(b.socket.count, 1)
  b.clock.pass(1)
  assert.equal(b.socket.last.request.cursor, "c5")
  b.socket.last.on.message(delta(5, 6, "c6"))
  assert.equal(b.state(), "live")
  assert.deepEqual(b.messages.map((m) => m.seq), [1, 5, 6])
})

test("a gap begins anew without a cursor, and nothing of it is passed on", () => {
  const b = bed()
  b.socket.last.on.message(snapshot(1, "c1"))
  const old = b.socket.last
  old.on.message(delta(3, 4, "c4"))
  assert.ok(old.closed)
  assert.equal(b.socket.count, 2)
  assert.equal(b.socket.last.request.cursor, "")
  old.on.message(delta(1, 2, "c2"))
  b.socket.last.on.message(snapshot(9, "c9"))
  assert.deepEqual(b.messages.map((m) => m.seq), [1, 9])
  // A second one soon after waits: a gateway that is wrong each time isn't asked without end.
  b.socket.last.on.message(delta(1, 2))
  assert.equal(b.state(), "waiting")
  assert.equal(b.socket.count, 2)
  b.clock.pass(10_000)
  assert.equal(b.socket.last.request.cursor, "")
})

test("a delta without a snapshot is a gap", () => {
  const b = bed()
  b.socket.last.on.message(delta(1, 2, "c"))
  assert.equal(b.messages.length, 0)
  assert.equal(b.socket.count, 2)
})

test("topics have states of their own; a problem and a sign of life have none", () => {
  const b = bed()
  b.socket.last.on.message({ ...snapshot(1), topic: "a" })
  b.socket.last.on.message({ ...snapshot(7), topic: "b" })
  b.socket.last.on.message({ ...delta(7, 8), topic: "b" })
  b.socket.last.on.message({ ...delta(1, 2), topic: "a" })
  b.socket.last.on.message({ time: 5 })
  b.socket.last.on.message({ topic: "b", problem: { detail: "gone" } })
  assert.equal(b.socket.count, 1)
  assert.equal(b.messages.length, 5)
})

test("another watch goes on with what both have", () => {
  const b = bed({ topics: ["job:a", "execution:a.h"] })
  b.socket.last.on.message({ topic: "job:a", snapshot: true, seq: 4, cursor: "c4" })
  b.socket.last.on.message({ topic: "execution:a.h", snapshot: true, seq: 1, cursor: "c5" })
  b.watch.close()
  const next = bed({ topics: ["job:a", "execution:a.i"], from: b.watch.place() })
  assert.equal(next.socket.last.request.cursor, "c5")
  next.socket.last.on.message({ topic: "job:a", prev: 4, seq: 5 })
  next.socket.last.on.message({ topic: "execution:a.i", snapshot: true, seq: 1 })
  assert.equal(next.messages.length, 2)
  assert.equal(bed({ topics: ["jobs"], from: b.watch.place() }).socket.last.request.cursor, "")
})

test("two and a half beats of silence are the end", () => {
  const b = bed()
  b.socket.last.on.message(snapshot(1, "c1"))
  b.clock.pass(2.4 * beat)
  b.socket.last.on.message({ time: 1 })
  b.clock.pass(2.4 * beat)
  b.socket.last.on.alive()
  b.clock.pass(2.4 * beat)
  assert.equal(b.state(), "live")
  b.clock.pass(0.1 * beat)
  assert.equal(b.state(), "waiting")
  assert.ok(b.socket.open_[0].closed)
})

test("where the socket doesn't open, events carry it, with the same cursor, and go on doing so", () => {
  const b = bed()
  b.socket.last.on.closed({})
  assert.equal(b.sse.count, 1)
  b.sse.last.on.message(snapshot(1, "c1"))
  assert.deepEqual([b.state(), b.statuses.at(-1).transport], ["live", "sse"])
  b.sse.last.on.closed({})
  b.clock.pass(500)
  assert.equal(b.socket.count, 1)
  assert.equal(b.sse.last.request.cursor, "c1")
  b.sse.last.on.message(delta(1, 2, "c2"))
  // Another watch of this page doesn't try the socket either, until some time has passed.
  const again = bed({ clock: b.clock, memory: b.memory })
  assert.deepEqual([again.socket.count, again.sse.count], [0, 1])
  b.clock.pass(600_000)
  const later = bed({ clock: b.clock, memory: b.memory })
  assert.deepEqual([later.socket.count, later.sse.count], [1, 0])
})

test("a socket that opens and says nothing is given up for events", () => {
  const b = bed()
  b.clock.pass(10_000)
  assert.ok(b.socket.last.closed)
  assert.equal(b.sse.count, 1)
})

test("a socket that has worked is tried first again, also after events had to help", () => {
  const b = bed()
  b.socket.last.on.message(snapshot(1, "c1"))
  b.socket.last.on.closed({})
  b.clock.pass(500)
  b.socket.last.on.closed({})
  b.sse.last.on.message(delta(1, 2, "c2"))
  b.sse.last.on.closed({})
  b.clock.pass(5000)
  assert.equal(b.socket.count, 3)
})

test("delays grow, are drawn from the whole window, and end with a stable connection", () => {
  const b = bed()
  const fail = () => {
    b.socket.last.on.closed({})
    b.sse.last.on.closed({})
    const ms = b.statuses.at(-1).until - b.clock.now()
    b.clock.pass(ms)
    return ms
  }
  assert.deepEqual(Array.from({ length: 10 }, fail), [500, 1000, 1500, 2500, 2500, 2500, 4000, 7500, 15_000, 15_000])
  b.socket.last.on.message(snapshot(1, "c1"))
  b.socket.last.on.closed({}) // at once: no reason for trust
  assert.equal(b.statuses.at(-1).until - b.clock.now(), 15_000)
  b.clock.pass(15_000)
  b.socket.last.on.message(delta(1, 2, "c2"))
  b.clock.pass(10_000)
  b.socket.last.on.closed({})
  assert.equal(b.statuses.at(-1).until - b.clock.now(), 500)
  assert.equal(delay(0, () => 0), 0)
  assert.equal(delay(99, () => 0.999), 29_970)
  assert.equal(delay(0, () => 0.5, 7000), 7500)
})

test("401 ends it and says so; nothing more is tried", () => {
  const b = bed()
  b.socket.last.on.closed({})
  b.sse.last.on.closed({ status: 401, problem: { detail: "expired" } })
  assert.deepEqual(b.unauthorized, [{ detail: "expired" }])
  b.clock.pass(1e6)
  assert.equal(b.socket.count + b.sse.count, 2)
})

test("what the gateway refuses for good isn't asked again; what passes is", () => {
  const b = bed()
  b.socket.last.on.closed({})
  b.sse.last.on.closed({ status: 403, problem: { detail: "no" } })
  assert.equal(b.state(), "refused")
  b.clock.pass(1e6)
  assert.equal(b.socket.count, 1)
  const c = bed()
  c.socket.last.on.closed({})
  c.sse.last.on.closed({ status: 503, retryAfter: 4000 })
  assert.equal(c.statuses.at(-1).until, 4500)
})

test("where the gateway itself closes it, the transport isn't at fault", () => {
  const b = bed()
  b.socket.last.on.closed({ code: 4004, retryAfter: 2000 })
  assert.equal(b.sse.count, 0)
  assert.equal(b.statuses.at(-1).until, 2500)
})

test("a cursor that is refused is forgotten", () => {
  const b = bed()
  b.socket.last.on.message(snapshot(1, "c1"))
  b.socket.last.on.closed({})
  b.clock.pass(500)
  b.socket.last.on.closed({})
  b.sse.last.on.closed({ status: 400, problem: {} })
  assert.equal(b.state(), "waiting")
  b.clock.pass(5000)
  assert.equal(b.socket.last.request.cursor, "")
})

test("now doesn't wait; close ends all, also what comes late", () => {
  const b = bed()
  b.watch.now()
  assert.equal(b.socket.count, 1)
  b.socket.last.on.message(snapshot(1, "c1"))
  b.watch.now()
  b.socket.last.on.closed({})
  b.watch.now()
  assert.equal(b.socket.count, 2)
  const c = b.socket.last
  b.watch.close()
  assert.ok(c.closed)
  const statuses = b.statuses.length
  c.on.message(delta(1, 2))
  c.on.closed({})
  b.clock.pass(1e6)
  assert.equal(b.clock.timers.size, 0)
  assert.deepEqual([b.statuses.length, b.messages.length, b.socket.count], [statuses, 1, 2])
})

test("a transport that fails before it returns", () => {
  const failing = { name: "socket", open: (_, on) => { on.closed({}); return { close() {} } } }
  const b = bed({ socket: failing })
  assert.equal(b.sse.count, 1)
})

test("server-sent events, torn anywhere", () => {
  const text = ": hi\r\nid: 1\r\ndata: {\"a\":1}\r\n\r\ndata:x\ndata: y\n\nevent: z\n\nevent: end\ndata: last\r\r"
  for (let i = 0; i <= text.length; i++) {
    const s = new EventStream()
    const got = [...s.feed(text.slice(0, i)), ...s.feed(text.slice(i)), ...s.feed("\n")]
    assert.deepEqual(got.map((e) => e.data), ['{"a":1}', "x\ny", "last"], `torn at ${i}`)
    assert.deepEqual(got.map((e) => e.type), ["message", "message", "end"], `torn at ${i}`)
  }
})
