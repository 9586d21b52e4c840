// What is known, built of the messages of a watch. It knows no view; who shows it subscribes.

import { bytes, Output } from "./output.js"
import { ended } from "./states.js"

export class Model {
  jobs // newest first; undefined until a snapshot came
  job // {job, states, counts, version}: the job that is watched
  execution // {execution, output}
  problems = new Map() // by topic: why nothing more comes of it
  skew = 0 // of the gateway's clock to this one, ms
  #watchers = new Set()
  #topics = []

  // subscribe calls f after each change, until what it gives is called.
  subscribe(f) {
    this.#watchers.add(f)
    return () => this.#watchers.delete(f)
  }

  // watch says which topics come from now on; what is known of others is forgotten.
  watch(topics) {
    for (const t of this.#topics) {
      if (topics.includes(t)) continue
      if (t === "jobs") this.jobs = undefined
      if (t.startsWith("job:")) this.job = undefined
      if (t.startsWith("execution:")) this.execution = undefined
      this.problems.delete(t)
    }
    this.#topics = topics
    this.#tell()
  }

  time(ms) {
    this.skew = ms - Date.now()
  }

  now() {
    return Date.now() + this.skew
  }

  apply(m) {
    if (m.problem) this.problems.set(m.topic, m.problem)
    else if (m.snapshot) this.problems.delete(m.topic)
    if (m.topic === "jobs") this.#jobs(m)
    else if (m.topic.startsWith("job:")) this.#job(m)
    else if (m.topic.startsWith("execution:")) this.#execution(m)
    this.#tell()
  }

  #jobs(m) {
    if (m.problem) return
    const known = new Map(m.snapshot ? [] : (this.jobs ?? []).map((j) => [j.id, j]))
    for (const j of m.jobs ?? []) known.set(j.id, j)
    for (const id of m.removed ?? []) known.delete(id)
    this.jobs = [...known.values()].sort((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at) || (a.id < b.id ? 1 : -1))
  }

  #job(m) {
    if (m.problem) return
    const j = m.snapshot || !this.job ? { states: new Uint8Array(0), counts: new Map(), version: 0 } : this.job
    if (m.job) j.job = m.job
    if (m.states !== undefined) {
      j.states = bytes(m.states)
      j.counts = count(j.states)
    }
    for (const [ordinal, byte] of m.changes ?? []) {
      if (ordinal >= j.states.length) continue
      j.counts.set(j.states[ordinal], j.counts.get(j.states[ordinal]) - 1)
      j.counts.set(byte, (j.counts.get(byte) ?? 0) + 1)
      j.states[ordinal] = byte
    }
    if (m.states !== undefined || m.changes) j.version++
    this.job = j
  }

  #execution(m) {
    if (m.problem) return
    const x = m.snapshot || !this.execution ? { execution: undefined, output: new Output() } : this.execution
    for (const chunk of m.output ?? []) x.output.add(chunk)
    if (m.execution) x.execution = m.execution
    const { execution, output } = x
    const stored = execution ? execution.output.stdout + execution.output.stderr : Infinity
    if (stored > 0 && ended(execution?.state) && output.reached() >= stored) output.end(m.time)
    this.execution = x
  }

  #tell() {
    for (const f of this.#watchers) f()
  }
}

function count(states) {
  const counts = new Map()
  for (const b of states) counts.set(b, (counts.get(b) ?? 0) + 1)
  return counts
}

// Targets are the names of a job's hosts, fetched by pages when they are asked for.
export class Targets {
  #fetch
  #changed
  #pages = new Map()

  // fetch(from, limit) gives a promise of a page; changed() is called when one has come.
  constructor(fetch, changed) {
    this.#fetch = fetch
    this.#changed = changed
  }

  // name gives the host with an ordinal, undefined while it isn't known.
  name(ordinal) {
    const n = Math.floor(ordinal / pageSize)
    const page = this.#pages.get(n)
    if (page === undefined) this.#get(n)
    return page?.[ordinal - n * pageSize]
  }

  #get(n) {
    this.#pages.set(n, []) // on its way
    this.#fetch(n * pageSize, pageSize).then(
      (page) => this.#pages.set(n, page.hosts),
      () => setTimeout(() => {
        this.#pages.delete(n)
        this.#changed() // asked for again if it is still in sight
      }, 2000),
    ).finally(() => this.#changed())
  }
}

const pageSize = 1000
