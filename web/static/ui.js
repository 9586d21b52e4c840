// What all views are made with.

import { h } from "./lib/preact.js"
import { useEffect, useReducer, useRef, useState } from "./lib/hooks.js"
import htm from "./lib/htm.js"

export { render } from "./lib/preact.js"
export { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./lib/hooks.js"

export const html = htm.bind(h)

// useModel draws a component anew after changes of a model, once a frame at most. A page
// that nobody sees isn't drawn.
export function useModel(model) {
  const [, redraw] = useReducer((n) => n + 1, 0)
  useEffect(() => {
    let frame = 0
    const stop = model.subscribe(() => {
      frame ||= requestAnimationFrame(() => {
        frame = 0
        redraw()
      })
    })
    redraw() // for what changed before
    return () => {
      stop()
      cancelAnimationFrame(frame)
    }
  }, [model])
}

// useNow gives the gateway's time, anew each second while something runs.
export function useNow(model, running) {
  const [, tick] = useReducer((n) => n + 1, 0)
  useEffect(() => {
    if (!running) return undefined
    const timer = setInterval(tick, 1000)
    return () => clearInterval(timer)
  }, [running])
  return model.now()
}

// useAsk gives what does something once at a time, whether it is busy, and how it failed.
export function useAsk(action) {
  const [state, set] = useState({ busy: false, problem: undefined })
  const alive = useRef(true)
  useEffect(() => () => { alive.current = false }, [])
  const ask = async (...args) => {
    if (state.busy) return
    set({ busy: true, problem: undefined })
    let problem
    try {
      await action(...args)
    } catch (e) {
      problem = e
    }
    if (alive.current) set({ busy: false, problem })
  }
  return [ask, state]
}

// useTitle names the page in the browser's tabs.
export function useTitle(text) {
  useEffect(() => {
    document.title = text ? `${text} · rexgate` : "rexgate"
  }, [text])
}
