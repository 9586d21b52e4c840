import assert from "node:assert/strict"
import { test } from "node:test"
import { age, byReason, inShort, sentence } from "../static/why.js"

const at = (s) => Date.parse(`2025-01-02T${s}Z`)
// flat writes pieces as a reader sees them, moments by their number of seconds in the day.
const flat = (why, now) => sentence(why, at(now)).map((p) => (p.at !== undefined ? `<${(p.at - at("00:00:00")) / 1000}>` : p.job ? `[${p.job}]` : p.age ? `{${p.age}}` : p.text)).join("")

test("moments are the reader's, ages go on, the job is a link", () => {
  const text = (t, behind) => ({ code: "x", text: t, behind })
  for (const [why, now, want] of [
    [text("The host is offline since 2025-01-02 00:00:10 UTC, 3s. It is kept for it until 2025-01-03 00:00:00 UTC."), "00:01:20",
      "The host is offline since <10>, {1 min 10 s}. It is kept for it until <86400>."],
    [text("The host polls; its next poll is due by 2025-01-02 00:01:00 UTC, in 50s."), "00:00:56", "The host polls; its next poll is due by <60>, in {4 s}."],
    [text("The host polls; its next poll is due by 2025-01-02 00:01:00 UTC, in 50s."), "00:02:00", "The host polls; its next poll is due by <60>, in {0 s}."],
    [text("Delivered 2025-01-02 00:00:10 UTC, 1h 2m ago, and not accepted yet."), "01:10:10", "Delivered <10>, {1 h 10 min} ago, and not accepted yet."],
    [text("Runs since 2025-01-02 00:00:10 UTC, 0s; its time limit is 2025-01-02 01:00:10 UTC."), "00:00:12", "Runs since <10>, {2 s}; its time limit is <3610>."],
    [text("Behind job j1 in lane default, running since 2025-01-02 00:00:00 UTC, and 2 more that come first.", "j1"), "00:00:01",
      "Behind job [j1] in lane default, running since <0>, and 2 more that come first."],
    [text("12 in lane default come first, beginning with job j1.", "j1"), "00:00:01", "12 in lane default come first, beginning with job [j1]."],
    [text("Waits until 2025-13-45 99:00:00 UTC, 3s."), "00:00:01", "Waits until 2025-13-45 99:00:00 UTC, 3s."],
    [text("Something that this page doesn't know."), "00:00:01", "Something that this page doesn't know."],
    [text(undefined), "00:00:01", ""],
  ]) assert.equal(flat(why, now), want)
})

test("a count doesn't flicker", () => {
  assert.deepEqual([-5, 0, 999, 1000, 9999, 10_000, 61_000].map(age), ["0 s", "0 s", "0 s", "1 s", "9 s", "10 s", "1 min 01 s"])
})

test("reasons are counted, the most frequent first", () => {
  const x = (host, code) => ({ host, why: code && { code, text: code } })
  const groups = byReason([x("a", "lane"), x("b", "offline"), x("c", "offline"), x("d"), x("e", "offline"), x("f", "offline")], 3)
  assert.deepEqual(groups.map((g) => [g.code, g.count, g.first.map((h) => h.host).join("")]), [["offline", 4, "bce"], ["lane", 1, "a"]])
  assert.deepEqual(byReason([], 3), [])
  assert.equal(inShort("offline"), "offline")
  assert.equal(inShort("on_the_moon"), "on the moon")
  assert.equal(inShort("constructor"), "constructor")
})
