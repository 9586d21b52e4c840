// Small parts that several views share.

import { html, useEffect, useRef } from "../ui.js"
import { clean } from "../text.js"
import { number, span } from "../format.js"
import { label, stateOf, stateOfByte, states } from "../states.js"

// The marks differ in shape, so that they can be told apart without colour.
const circle = html`<circle cx="8" cy="8" r="6.25" class="line" />`
const square = html`<rect x="1" y="1" width="14" height="14" rx="2.5" class="fill" />`
const disc = html`<circle cx="8" cy="8" r="7" class="fill" />`
const marks = {
  planned: html`<circle cx="8" cy="8" r="6.25" class="line" stroke-dasharray="2.4 2.5" />`,
  queued: circle,
  leased: html`${circle}<circle cx="8" cy="8" r="2" class="fill" />`,
  accepted: html`${circle}<path d="M8 3.5a4.5 4.5 0 0 1 0 9z" class="fill" />`,
  running: html`<path d="M8 1.75a6.25 6.25 0 1 1-6.25 6.25" class="line turning" /><circle cx="8" cy="8" r="2.5" class="fill" />`,
  succeeded: html`${disc}<path d="M4.8 8.3l2.2 2.2 4.2-4.7" class="cut" />`,
  failed: html`${square}<path d="M5 5l6 6M11 5l-6 6" class="cut" />`,
  timed_out: html`${square}<path d="M8 4v4.4l2.8 1.8" class="cut" />`,
  lost: html`${square}<path d="M5.8 6.2a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.5M8 11.9v.2" class="cut" />`,
  rejected: html`<path d="M8 .8l7.4 13.6H.6z" class="fill" /><path d="M8 5.6v4M8 11.9v.2" class="cut" />`,
  expired: html`${square}<path d="M5.3 4h5.4L5.3 12h5.4z" class="cut" />`,
  cancelled: html`${circle}<path d="M4 12L12 4" class="line" />`,
  unknown: circle,
}

export const Mark = ({ name, kind }) =>
  html`<svg class="mark k-${kind ?? stateOf(name).kind}" viewBox="0 0 16 16" aria-hidden="true">${marks[name] ?? marks.unknown}</svg>`

export const State = ({ name, kind, text }) =>
  html`<span class="state"><${Mark} name=${name} kind=${kind} /><span>${text ?? label(name)}</span></span>`

// What is done comes first in a bar.
const kinds = ["good", "bad", "off", "going", "idle"]
const inBar = kinds.flatMap((k) => states.filter((s) => s.kind === k).reverse())

// Bar shows how many executions are in which state: counts by name.
export function Bar({ counts, total }) {
  const shown = inBar.filter((s) => counts[s.name] > 0)
  const text = shown.map((s) => `${number(counts[s.name])} ${label(s.name)}`).join(", ")
  return html`<div class="bar" role="img" aria-label=${text} title=${text}>
    ${shown.map((s) => html`<span key=${s.name} class="k-${s.kind}" style=${{ flexGrow: String(counts[s.name] / total) }} />`)}
  </div>`
}

// byName turns counts by byte into counts by name.
export function byName(counts) {
  const named = {}
  for (const [byte, n] of counts) if (n > 0) named[stateOfByte(byte).name] = n
  return named
}

// Fault shows a problem in the gateway's words.
export const Fault = ({ problem }) => problem && html`<div class="fault" role="alert">
  <p>${clean(problem.detail ?? problem.message ?? "the gateway failed")}</p>
  ${problem.items?.length > 0 && html`<p class="dim">${problem.items.map((i) => clean(i, 200)).join(", ")}</p>`}
</div>`

// Ask is a question that has to be answered before something is done.
export function Ask({ title, text, action, busy, problem, onYes, onNo }) {
  const dialog = useRef()
  useEffect(() => dialog.current.showModal(), [])
  return html`<dialog ref=${dialog} aria-labelledby="ask-title" onClose=${onNo}>
    <h2 id="ask-title">${title}</h2>
    <p>${text}</p>
    <${Fault} problem=${problem} />
    <div class="actions">
      <button type="button" onClick=${() => dialog.current.close()}>No, leave it</button>
      <button type="button" class="danger" disabled=${busy} onClick=${onYes}>${action}</button>
    </div>
  </dialog>`
}

// took tells how long something took, or takes until now.
export const took = (from, to, now) => (from ? span((to ? Date.parse(to) : now) - Date.parse(from)) : "")
