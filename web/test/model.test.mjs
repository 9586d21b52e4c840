import assert from "node:assert/strict"
import { test } from "node:test"
import { Model, Targets } from "../static/model.js"
import { parse, takeLogin, toHost, topics } from "../static/route.js"
import { jobState } from "../static/states.js"

const job = (id, at, more = {}) => ({ id, created_at: `2025-01-01T00:00:0${at}Z`, counters: {}, ...more })
const states = (s) => Buffer.from(s).toString("base64")

test("jobs: a snapshot, then changes, newest first", () => {
  const m = new Model()
  m.apply({ topic: "jobs", snapshot: true, jobs: [job("b", 2), job("a", 1)] })
  m.apply({ topic: "jobs", jobs: [job("c", 3), job("a", 1, { name: "x" })], removed: ["b"] })
  assert.deepEqual(m.jobs.map((j) => [j.id, j.name]), [["c", undefined], ["a", "x"]])
  m.apply({ topic: "jobs", snapshot: true })
  assert.deepEqual(m.jobs, [])
})

test("job: states by ordinal, whole or changed, are counted", () => {
  const m = new Model()
  m.apply({ topic: "job:j", snapshot: true, job: job("j", 1), states: states("qqrr") })
  const v = m.job.version
  m.apply({ topic: "job:j", changes: [[0, 114], [3, 115], [99, 115]] })
  assert.equal(Buffer.from(m.job.states).toString(), "rqrs")
  assert.deepEqual(Object.fromEntries([...m.job.counts].map(([b, n]) => [String.fromCharCode(b), n])), { q: 1, r: 2, s: 1 })
  assert.ok(m.job.version > v)
  m.apply({ topic: "job:j", states: states("ssss") })
  assert.equal(m.job.counts.get(115), 4)
  assert.equal(m.job.job.id, "j")
})

test("execution: output begins anew with a snapshot; its end is shown when all has come", () => {
  const m = new Model()
  const x = (state, stdout) => ({ id: "j.h", state, output: { stdout, stderr: 0 } })
  const text = () => m.execution.output.blocks.flatMap((b) => b.lines).map((l) => l.runs.map((r) => r.text).join(""))
  m.apply({ topic: "execution:j.h", snapshot: true, execution: x("succeeded", 8) })
  m.apply({ topic: "execution:j.h", output: [{ seq: 1, stream: "stdout", at: 0, offset: 0, text: "one " }] })
  m.apply({ topic: "execution:j.h", output: [{ seq: 2, stream: "stdout", at: 0, offset: 4, text: "tw\x1b[" }] })
  assert.deepEqual(text(), ["one tw\x1b["])
  m.apply({ topic: "execution:j.h", snapshot: true, execution: x("running", 0) })
  assert.deepEqual(text(), [])
})

test("a topic's problem is kept until a snapshot comes", () => {
  const m = new Model()
  let told = 0
  m.subscribe(() => told++)
  m.apply({ topic: "job:j", problem: { detail: "gone" } })
  assert.equal(m.problems.get("job:j").detail, "gone")
  m.apply({ topic: "job:j", snapshot: true, job: job("j", 1) })
  assert.equal(m.problems.size, 0)
  assert.equal(told, 2)
})

test("what isn't watched any more is forgotten", () => {
  const m = new Model()
  m.watch(["jobs"])
  m.apply({ topic: "jobs", snapshot: true, jobs: [job("a", 1)] })
  m.watch(["job:a", "execution:a.h"])
  m.apply({ topic: "job:a", snapshot: true, job: job("a", 1) })
  m.apply({ topic: "execution:a.h", snapshot: true })
  m.watch(["job:a", "execution:a.i"])
  assert.ok(!m.jobs && m.job && !m.execution)
  m.watch(["jobs"])
  assert.ok(!m.job)
})

test("names of hosts are fetched by pages, once, and again after a failure", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] })
  const asked = []
  let fails = true
  let changed
  const names = new Targets(async (from, limit) => {
    asked.push(from)
    if (fails) throw new Error("away")
    return { hosts: Array.from({ length: limit }, (_, i) => `h${from + i}`) }
  }, () => changed())
  const change = () => new Promise((r) => { changed = r })
  assert.equal(names.name(1500), undefined)
  assert.equal(names.name(1501), undefined)
  await change()
  assert.equal(names.name(1500), undefined)
  fails = false
  const again = change() // nothing else may ever draw the list again
  t.mock.timers.tick(2000)
  await again
  assert.equal(names.name(1500), undefined)
  await change()
  assert.equal(names.name(1500), "h1500")
  assert.deepEqual(asked, [1000, 1000])
})

test("routes", () => {
  assert.deepEqual(parse(""), { view: "jobs" })
  assert.deepEqual(parse("#/"), { view: "jobs" })
  assert.deepEqual(parse("#/jobs/abc"), { view: "job", job: "abc" })
  assert.deepEqual(parse(toHost("abc", "a/b c")), { view: "job", job: "abc", host: "a/b c" })
  assert.equal(parse("#/jobs/a/b/c").view, "none")
  assert.equal(parse("#/%zz").view, "none")
  assert.deepEqual(topics(parse("#/jobs/abc/h"), ["jobs:read", "output:read"]), ["job:abc", "execution:abc.h"])
  assert.deepEqual(topics(parse("#/jobs/abc/h"), ["jobs:read"]), ["job:abc"])
})

test("a login's code leaves the address at once", () => {
  let put
  const location = { hash: "#login=AB%2BC", pathname: "/", search: "" }
  assert.equal(takeLogin(location, { replaceState: (...a) => { put = a[2] } }), "AB+C")
  assert.equal(put, "/#/")
  assert.equal(takeLogin({ hash: "#/jobs/a" }, {}), "")
})

test("a job's state", () => {
  const counters = { cancelled: 0, running: 0, accepted: 0, leased: 0 }
  const text = (j) => jobState({ counters, control: "active", done: 0, failed: 0, outstanding: 0, ...j }).text
  assert.equal(text({ outstanding: 2 }), "waiting")
  assert.equal(text({ outstanding: 2, done: 1 }), "waiting")
  assert.equal(text({ outstanding: 2, counters: { ...counters, accepted: 1 } }), "running")
  assert.equal(text({ outstanding: 2, control: "cancelled" }), "cancelling")
  assert.equal(text({ failed: 1 }), "failed")
  assert.equal(text({ counters: { ...counters, cancelled: 1 } }), "cancelled")
  assert.equal(text({}), "succeeded")
})
