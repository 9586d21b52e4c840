// The states of an execution, in the order of its life: what they are called, how they look.
// byte is what stands for it in a job's states. kind gives the colour; the mark tells them apart without.

export const states = [
  { name: "planned", byte: "p", kind: "idle" },
  { name: "queued", byte: "q", kind: "idle" },
  { name: "leased", byte: "l", kind: "going" },
  { name: "accepted", byte: "a", kind: "going" },
  { name: "running", byte: "r", kind: "going" },
  { name: "succeeded", byte: "s", kind: "good" },
  { name: "failed", byte: "f", kind: "bad" },
  { name: "timed_out", byte: "t", kind: "bad" },
  { name: "lost", byte: "x", kind: "bad" },
  { name: "rejected", byte: "j", kind: "bad" },
  { name: "expired", byte: "e", kind: "bad" },
  { name: "cancelled", byte: "c", kind: "off" },
]

const byName = new Map(states.map((s) => [s.name, s]))
const byByte = new Map(states.map((s) => [s.byte.charCodeAt(0), s]))

// A newer gateway may know more.
const unknown = { name: "unknown", byte: "?", kind: "idle" }

export const stateOf = (name) => byName.get(name) ?? unknown
export const stateOfByte = (byte) => byByte.get(byte) ?? unknown
export const failures = states.filter((s) => s.kind === "bad").map((s) => s.name)
export const ended = (name) => ["good", "bad", "off"].includes(stateOf(name).kind)
export const label = (name) => name.replace("_", " ")

// jobState sums a job up: the name that its mark and its text have.
export function jobState(job) {
  const c = job.counters
  if (job.outstanding > 0) {
    if (job.control === "cancelled") return { kind: "going", mark: "running", text: "cancelling" }
    if (c.running + c.accepted + c.leased > 0) return { kind: "going", mark: "running", text: "running" }
    return { kind: "idle", mark: "queued", text: "waiting" }
  }
  if (job.failed > 0) return { kind: "bad", mark: "failed", text: "failed" }
  if (c.cancelled > 0) return { kind: "off", mark: "cancelled", text: "cancelled" }
  return { kind: "good", mark: "succeeded", text: "succeeded" }
}
