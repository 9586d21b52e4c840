// A list of which only the rows in sight are in the page.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../ui.js"

const spare = 8 // rows beyond what is in sight

// Rows shows count rows of the same height: row(i) gives one, an element with a link in it. The arrow keys, Page Up and Down, Home and End move the focus.
export function Rows({ count, height, name, row }) {
  const box = useRef()
  const [view, setView] = useState({ top: 0, size: 0 })
  const [focus, setFocus] = useState({ index: 0, wanted: false })

  const look = (b = box.current) => setView({ top: b.scrollTop, size: b.clientHeight })
  useLayoutEffect(() => {
    const b = box.current
    look(b)
    const watch = new ResizeObserver(() => look(b))
    watch.observe(b)
    return () => watch.disconnect()
  }, [])
  useEffect(() => {
    if (focus.wanted) box.current.querySelector(`[data-row="${focus.index}"] a`)?.focus({ preventScroll: true })
  }, [focus])

  const go = (index) => {
    const b = box.current
    const top = index * height
    if (top < b.scrollTop) b.scrollTop = top
    else if (top + height > b.scrollTop + b.clientHeight) b.scrollTop = top + height - b.clientHeight
    look()
    setFocus({ index, wanted: true })
  }
  const key = (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return
    const page = Math.max(1, Math.floor(view.size / height) - 1)
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -count, End: count }
    if (!(event.key in steps) || count === 0) return
    event.preventDefault()
    go(Math.min(count - 1, Math.max(0, focus.index + steps[event.key])))
  }

  const first = Math.max(0, Math.floor(view.top / height) - spare)
  const last = Math.min(count, Math.ceil((view.top + view.size) / height) + spare)
  const shown = []
  for (let i = first; i < last; i++) shown.push(i)
  // The tab key stops once in the list: at the row that has the focus, or the first in sight.
  const stop = focus.index >= first && focus.index < last ? focus.index : Math.min(last - 1, Math.ceil(view.top / height))
  return html`<div class="rows" ref=${box} onScroll=${(event) => look(event.currentTarget)} onKeyDown=${key}>
    <ul aria-label=${name} style=${{ height: `${count * height}px` }}>
      ${shown.map((i) => html`<li key=${i} data-row=${i} aria-posinset=${i + 1} aria-setsize=${count}
        style=${{ top: `${i * height}px`, height: `${height}px` }}
        onFocusIn=${() => focus.index !== i && setFocus({ index: i, wanted: false })}>${row(i, i === stop ? 0 : -1)}</li>`)}
    </ul>
  </div>`
}
