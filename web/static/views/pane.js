// The lines of an output. There may be thousands, and many new ones a second: they are made by
// hand, block by block, and only those that changed.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../ui.js"
import { clock, number, size } from "../format.js"
import { pieces } from "../text.js"

// Pane shows an output, and follows its end unless the reader has scrolled up.
export function Pane({ output, notes, running }) {
  const box = useRef()
  const lines = useRef()
  const drawn = useRef()
  const following = useRef(true)
  const [behind, setBehind] = useState(false)

  useLayoutEffect(() => {
    if (drawn.current?.output !== output) drawn.current = new Drawing(output, lines.current)
    drawn.current.update()
    if (following.current) toEnd(box.current)
  })
  useEffect(() => {
    const b = box.current
    const watch = new ResizeObserver(() => following.current && toEnd(b))
    watch.observe(b)
    return () => watch.disconnect()
  }, [])

  // The last of these events may come after the pane has gone.
  const scrolled = ({ currentTarget: b }) => {
    following.current = b.scrollHeight - b.scrollTop - b.clientHeight < 48
    setBehind(!following.current)
  }
  const follow = () => {
    following.current = true
    setBehind(false)
    toEnd(box.current)
  }
  return html`<div class="pane">
    <div class="lines" ref=${box} onScroll=${scrolled} tabindex="0" role="log" aria-live="off" aria-label="Output">
      ${output.dropped > 0 && html`<p class="note">${number(output.dropped)} earlier lines are in the raw output</p>`}
      <div ref=${lines} />
      ${notes.map((n) => html`<p class="note" key=${n}>${n}</p>`)}
      ${running && html`<p class="cursor" aria-hidden="true" />`}
    </div>
    ${behind && html`<button type="button" class="follow" onClick=${follow}>${running ? "Follow the output" : "To the end"}</button>`}
  </div>`
}

function toEnd(box) {
  box.scrollTop = box.scrollHeight
}

// Drawing is the DOM of an output, inside of a parent that is its own.
class Drawing {
  #parent
  #blocks = new Map() // by the output's block
  #nodes = new Map() // by the output's line
  #second = ""

  constructor(output, parent) {
    this.output = output
    this.#parent = parent
    parent.replaceChildren()
    output.changes() // all are drawn now
    for (const b of output.blocks) for (const line of b.lines) this.#line(line)
  }

  // update draws what has changed since.
  update() {
    const changed = [...this.output.changes()].sort((a, b) => a.id - b.id)
    for (const line of changed) this.#line(line)
    const kept = new Set(this.output.blocks)
    for (const [block, node] of this.#blocks) {
      if (kept.has(block)) continue
      node.remove()
      this.#blocks.delete(block)
      for (const line of block.lines) this.#nodes.delete(line)
    }
  }

  #line(line) {
    let node = this.#nodes.get(line)
    if (!node) {
      node = this.#append(line)
      this.#nodes.set(line, node)
    }
    if (line.gap) return
    const text = node.lastChild
    text.replaceChildren(...line.runs.flatMap(spans))
    // An empty line has its height, and is copied as one, of nothing else.
    if (line.chars === 0) text.append(document.createElement("br"))
    if (line.rewritten > 0) {
      node.classList.add("rewritten")
      node.title = `written anew ${line.rewritten} times; the raw output has all of it`
    }
  }

  #append(line) {
    let block = this.#blocks.get(line.block)
    if (!block) {
      block = document.createElement("div")
      block.className = "block"
      this.#blocks.set(line.block, block)
      this.#parent.append(block)
    }
    const node = document.createElement("div")
    block.append(node)
    if (line.gap) {
      node.className = "note gap"
      node.textContent = `${size(line.gap)} were lost on the way`
      return node
    }
    const second = clock(line.at)
    node.className = `line ${line.stream}`
    const gutter = document.createElement("span")
    gutter.className = "gutter"
    // Not in the text: it isn't copied with the output.
    gutter.dataset.at = second === this.#second ? "" : second
    gutter.dataset.stream = line.stream === "stderr" ? "err" : ""
    this.#second = second
    const text = document.createElement("span")
    text.className = "text"
    node.append(gutter, text)
    return node
  }
}

// spans makes the nodes of a run: text nodes and spans, nothing of which is parsed.
function spans({ text, style }) {
  return pieces(text).map((p) => {
    const classes = [style && style.split(" ").map((c) => `t-${c}`).join(" "), p.hidden && "hidden-char"].filter(Boolean).join(" ")
    if (classes === "") return document.createTextNode(p.text)
    const span = document.createElement("span")
    span.className = classes
    span.textContent = p.text
    return span
  })
}
