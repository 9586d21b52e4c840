// An execution's output as lines: made of chunks as they come, bounded, in blocks that a view can
// show and drop as a whole.

import { Terminal } from "./terminal.js"

// Bounds of what is kept: the newest.
export const bounds = { lines: 10_000, chars: 4 << 20, line: 2000, block: 250 }

// A line is {id, stream, at, runs, chars, rewritten, more}: rewritten counts how often a carriage return began
// it anew (the raw output has all of it), more says that the next line goes on where this one was
// broken for its length. A gap is {id, at, gap}.
export class Output {
  blocks = [] // of {id, lines, chars}
  dropped = 0 // lines that are no longer kept
  lines = 0 // that are kept
  #chars = 0
  #ids = 0
  #seq = 0
  #last
  #streams
  #changed = new Set()
  #bounds

  constructor(b = bounds) {
    this.#bounds = b
    this.#streams = { stdout: stream("stdout"), stderr: stream("stderr") }
  }

  // add takes a chunk of a watch. One that is known already changes nothing.
  add(chunk) {
    if (chunk.seq <= this.#seq) return
    this.#seq = chunk.seq
    this.#last = chunk
    if (chunk.gap) {
      this.#cut(chunk.at)
      this.#append({ at: chunk.at, gap: chunk.gap, chars: 0 })
      return
    }
    const s = this.#streams[chunk.stream]
    if (!s) return
    let text = chunk.text
    if (chunk.b64 !== undefined) {
      text = s.decoder.decode(bytes(chunk.b64), { stream: true })
      s.torn = true
    } else if (s.torn) {
      // What is UTF-8 by itself begins no character's rest.
      text = s.decoder.decode() + (text ?? "")
      s.torn = false
    }
    if (text) this.#write(s, s.terminal.feed(text), chunk.at)
  }

  // reached is the offset behind the last byte that came.
  reached() {
    const c = this.#last
    if (!c) return 0
    return c.offset + (c.b64 !== undefined ? bytes(c.b64).length : new TextEncoder().encode(c.text ?? "").length)
  }

  // end says that nothing more comes: what was held back as torn is shown.
  end(at) {
    this.#cut(at)
  }

  // changes gives the lines that are new or changed since the last call, in no order.
  changes() {
    const changed = this.#changed
    this.#changed = new Set()
    return changed
  }

  #cut(at) {
    for (const s of Object.values(this.#streams)) {
      const torn = s.torn ? s.decoder.decode() : ""
      s.torn = false
      const runs = torn ? s.terminal.feed(torn) : []
      this.#write(s, [...runs, ...s.terminal.end()], at)
      s.line = undefined
      s.back = false
    }
  }

  #write(s, runs, at) {
    for (const { text, style } of runs) {
      for (const [part] of text.matchAll(/[^\r\n]+|\r|\n/g)) {
        if (part === "\r") s.back = true
        else if (part === "\n") {
          if (!this.#open(s)) this.#begin(s, at)
          s.line = undefined
          s.back = false
        } else this.#print(s, part, style, at)
      }
    }
  }

  #print(s, text, style, at) {
    let line = this.#open(s)
    if (line && s.back) {
      this.#count(line, -line.chars)
      line.runs = []
      line.rewritten++
    }
    s.back = false
    while (text !== "") {
      line ??= this.#begin(s, at)
      const part = head(text, this.#bounds.line - line.chars)
      text = text.slice(part.length)
      const last = line.runs.at(-1)
      if (last && last.style === style) last.text += part
      else line.runs.push({ text: part, style })
      this.#count(line, part.length)
      this.#changed.add(line)
      if (text !== "") {
        line.more = true
        line = undefined
      }
    }
  }

  // open gives the stream's unfinished line, if it is still kept.
  #open(s) {
    if (s.line?.block.gone) s.line = undefined
    return s.line
  }

  #begin(s, at) {
    s.line = this.#append({ stream: s.name, at, runs: [], chars: 0, rewritten: 0, more: false })
    return s.line
  }

  #append(line) {
    let block = this.blocks.at(-1)
    if (!block || block.lines.length >= this.#bounds.block) {
      block = { id: this.#ids, lines: [], chars: 0, gone: false }
      this.blocks.push(block)
    }
    line.id = this.#ids++
    line.block = block
    block.lines.push(line)
    this.lines++
    this.#changed.add(line)
    this.#trim()
    return line
  }

  #count(line, chars) {
    line.chars += chars
    line.block.chars += chars
    this.#chars += chars
    if (chars > 0) this.#trim()
  }

  #trim() {
    while (this.blocks.length > 1 && (this.lines > this.#bounds.lines || this.#chars > this.#bounds.chars)) {
      const block = this.blocks.shift()
      block.gone = true
      this.lines -= block.lines.length
      this.dropped += block.lines.length
      this.#chars -= block.chars
      for (const line of block.lines) this.#changed.delete(line)
    }
  }
}

function stream(name) {
  // A byte order mark is a character like any other here.
  return { name, decoder: new TextDecoder("utf-8", { ignoreBOM: true }), torn: false, terminal: new Terminal(), line: undefined, back: false }
}

// head gives the first max units of the text, at least one character, and tears none.
function head(text, max) {
  if (text.length <= max) return text
  let n = Math.max(1, max)
  if (isHigh(text.charCodeAt(n - 1))) n += n > 1 ? -1 : 1
  return text.slice(0, n)
}

function isHigh(unit) {
  return unit >= 0xd800 && unit <= 0xdbff
}

export function bytes(base64) {
  const s = atob(base64)
  const b = new Uint8Array(s.length)
  for (let i = 0; i < s.length; i++) b[i] = s.charCodeAt(i)
  return b
}
