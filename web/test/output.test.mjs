import assert from "node:assert/strict"
import { test } from "node:test"
import { bytes, Output } from "../static/output.js"

const b64 = (...b) => Buffer.from(b.flatMap((x) => (typeof x === "string" ? [...Buffer.from(x)] : [x]))).toString("base64")

// feed makes an output of [stream, text or {b64} or {gap}] chunks.
function feed(chunks, bounds, output = new Output(bounds)) {
  let offset = 0
  chunks.forEach(([stream, what], i) => {
    const chunk = { seq: i + 1, stream, at: 1000 * i, offset, ...(typeof what === "string" ? { text: what } : what) }
    output.add(chunk)
    offset = output.reached()
  })
  return output
}
const lines = (output) => output.blocks.flatMap((b) => b.lines).map((l) => (l.gap ? `gap ${l.gap}` : `${l.stream === "stderr" ? "E " : ""}${l.runs.map((r) => r.text).join("")}`))

test("lines come of pieces, by stream", () => {
  assert.deepEqual(lines(feed([["stdout", "one\ntw"], ["stderr", "oops\n"], ["stdout", "o\n\nthree"]])), ["one", "two", "E oops", "", "three"])
})

test("a line is there before it is complete", () => {
  const o = feed([["stdout", "no end"]])
  assert.deepEqual([...o.changes()].map((l) => l.runs[0].text), ["no end"])
  assert.equal(o.changes().size, 0)
})

test("torn characters come out right, by stream", () => {
  const euro = [0xe2, 0x82, 0xac]
  assert.deepEqual(lines(feed([
    ["stdout", { b64: b64("a", euro[0]) }], ["stderr", { b64: b64(0xf0, 0x9f) }], ["stdout", { b64: b64(euro[1], euro[2], "b") }], ["stderr", { b64: b64(0x98, 0x80, "\n") }],
  ])), ["a€b", "E 😀"])
  // What never is completed is shown as broken, before what follows.
  assert.deepEqual(lines(feed([["stdout", { b64: b64("a", 0xe2, 0x82) }], ["stdout", "b\n"]])), ["a\ufffdb"])
  const o = feed([["stdout", { b64: b64("a", 0xe2) }]])
  o.end(0)
  assert.deepEqual(lines(o), ["a\ufffd"])
  assert.deepEqual(lines(feed([["stdout", { b64: b64(0xff, 0xfe, 0x00, "\n") }]])), ["\ufffd\ufffd\x00"])
  assert.deepEqual(lines(feed([["stdout", "\ufeffmark\n"], ["stdout", { b64: b64("\ufeff", 0xff) }]])), ["\ufeffmark", "\ufeff\ufffd"])
})

test("a carriage return writes a line anew, and doesn't flood", () => {
  const o = feed([["stdout", "10%\r20%\r"], ["stdout", "30%\r"], ["stdout", "\ndone\r"], ["stdout", "\n"]])
  assert.deepEqual(lines(o), ["30%", "done"])
  assert.equal(o.blocks[0].lines[0].rewritten, 2)
  assert.equal(o.blocks[0].lines[1].rewritten, 0)
  const many = feed([["stdout", Array.from({ length: 100_000 }, (_, i) => `${i}\r`).join("")]])
  assert.deepEqual(lines(many), ["99999"])
})

test("colours go on over lines of their stream only", () => {
  const o = feed([["stdout", "\x1b[31mred\n"], ["stderr", "plain\n"], ["stdout", "still\x1b[m not\n"]])
  assert.deepEqual(o.blocks[0].lines.map((l) => l.runs.map((r) => r.style)), [["fg1"], [""], ["fg1", ""]])
})

test("a gap is a line of its own, and nothing is joined over it", () => {
  assert.deepEqual(lines(feed([["stdout", "be"], ["", { gap: 12 }], ["stdout", "ef\n"]])), ["be", "gap 12", "ef"])
})

test("a chunk that came already changes nothing", () => {
  const o = feed([["stdout", "a\n"], ["stdout", "b\n"]])
  o.add({ seq: 2, stream: "stdout", at: 0, offset: 2, text: "b\n" })
  assert.deepEqual(lines(o), ["a", "b"])
  assert.equal(o.reached(), 4)
})

test("what is kept is bounded in lines and characters, the newest stay", () => {
  const bounds = { lines: 100, chars: 10_000, line: 50, block: 10 }
  const o = feed(Array.from({ length: 1000 }, (_, i) => ["stdout", `${i}\n`]), bounds)
  assert.ok(o.lines <= 100 && o.lines > 80, `${o.lines} lines`)
  assert.equal(o.lines + o.dropped, 1000)
  assert.equal(lines(o).at(-1), "999")
  assert.ok(o.changes().size <= 100)
  const long = feed([["stdout", "x".repeat(1_000_000)]], bounds)
  assert.ok(lines(long).every((l) => l.length <= 50) && lines(long).join("").length <= 10_000)
  assert.ok(long.blocks.at(-1).lines.slice(0, -1).every((l) => l.more))
  // An unfinished line that is no longer kept isn't written to.
  const gone = feed([["stdout", "begun"], ...Array.from({ length: 300 }, () => ["stderr", "e\n"]), ["stdout", " ended\n"]], bounds)
  assert.equal(lines(gone).at(-1), " ended")
})

test("a long line isn't broken within a character", () => {
  const o = feed([["stdout", "a" + "😀".repeat(40)]], { lines: 100, chars: 10_000, line: 10, block: 10 })
  assert.ok(lines(o).every((l) => l.isWellFormed?.() ?? !/[\ud800-\udbff]$/.test(l)))
  assert.equal(lines(o).join(""), "a" + "😀".repeat(40))
})

test("base64 becomes bytes", () => assert.deepEqual([...bytes("AP+A")], [0, 255, 128]))
