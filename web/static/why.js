// Why an execution hasn't ended: the gateway's sentence, with what moves in it made to move.

import { span } from "./format.js"

// The codes in a few words, for counts of them. A newer gateway may know more.
const labels = new Map(Object.entries({
  paused: "job paused",
  rollout: "held by the rollout",
  not_before: "not due yet",
  duplicate: "duplicate identity",
  never_seen: "never connected",
  offline: "offline",
  no_slots: "no slots for the lane",
  lane: "behind another job",
  ahead: "others come first",
  poll: "waiting for the next poll",
  delivery: "being delivered",
  not_accepted: "not accepted yet",
  not_started: "not started yet",
  cancel: "cancel not confirmed",
  running_away: "running, but offline",
  running: "running",
}))

export const inShort = (code) => labels.get(code) ?? String(code).replaceAll("_", " ")

// A moment as the sentence has it, and how long that was ago, or is ahead, when it was written.
const moment = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC(?:(, (?:in )?)\d+[dhms](?: \d+[dhms])?\b)?/g

// sentence takes a reason's sentence apart: pieces of {text}, {at} in Unix milliseconds, {age} as of now, and {job},
// which it waits for.
export function sentence(why, now) {
  const parts = []
  const text = String(why.text ?? "")
  let from = 0
  for (const m of text.matchAll(moment)) {
    const at = Date.parse(`${m[1]}T${m[2]}Z`)
    if (Number.isNaN(at)) continue
    plain(parts, text.slice(from, m.index), why.behind)
    parts.push({ at })
    if (m[3]) parts.push({ text: m[3] }, { age: age(m[3] === ", " ? now - at : at - now) })
    from = m.index + m[0].length
  }
  plain(parts, text.slice(from), why.behind)
  return parts
}

function plain(parts, text, job) {
  const pieces = job ? text.split(job) : [text]
  pieces.forEach((piece, i) => {
    if (i > 0) parts.push({ job })
    if (piece !== "") parts.push({ text: piece })
  })
}

// age is a span that is counted: whole seconds, where less would flicker.
export const age = (ms) => (ms < 10_000 ? `${Math.floor(Math.max(0, ms) / 1000)} s` : span(ms))

// byReason groups executions by why they haven't ended, the most frequent first: [{code, count, first}], with the first few of each.
export function byReason(executions, few) {
  const groups = new Map()
  for (const x of executions) {
    if (!x.why) continue // ended meanwhile
    const { code } = x.why
    const g = groups.get(code) ?? { code, count: 0, first: [] }
    groups.set(code, g)
    g.count++
    if (g.first.length < few) g.first.push(x)
  }
  return [...groups.values()].sort((a, b) => b.count - a.count)
}
