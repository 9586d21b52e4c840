import { html, useEffect, useModel, useNow, useState } from "../ui.js"
import * as api from "../api.js"
import { clean } from "../text.js"
import { size, span, when } from "../format.js"
import { ended, label } from "../states.js"
import { toJob } from "../route.js"
import { Fault, State } from "./parts.js"
import { Pane } from "./pane.js"
import { Why } from "./why.js"

const again = 5000 // ms between two requests of who isn't told by itself
const noScope = { detail: "the token of this login lacks the scope output:read, so that no output is shown" }

// Execution shows one host's part of a job, and its output as it comes.
export function Execution({ model, job, host, session }) {
  useModel(model)
  const mayRead = session.scopes.includes("output:read")
  const asked = useAsked(job, host, !mayRead)
  const { execution: x, output } = mayRead ? (model.execution ?? {}) : { execution: asked }
  const mine = x?.host === host && x?.job === job
  const problem = mayRead ? model.problems.get(`execution:${job}.${host}`) : noScope
  return html`
    <header class="head">
      <h2><a class="up back" href=${toJob(job)}>All hosts</a> <span class="host-name">${clean(host, 200)}</span></h2>
      ${mine && html`<${Facts} x=${x} model=${model} />`}
      ${mayRead && html`<div class="tools"><a class="button" href=${api.rawOutput(job, host)} target="_blank" rel="noopener">Raw output</a></div>`}
    </header>
    <${Fault} problem=${problem} />
    ${mine && output && html`<${Pane} key=${job} output=${output} notes=${notes(x)} running=${!ended(x.state)} />`}
    ${!mine && !problem && html`<p class="choose dim waiting">Waiting for the output</p>`}`
}

// useAsked asks for an execution until it has ended: of who may not read its output nothing is watched.
function useAsked(job, host, wanted) {
  const [known, setKnown] = useState()
  useEffect(() => {
    if (!wanted) return undefined
    let timer
    let left = false
    const ask = async () => {
      const x = document.hidden ? undefined : await api.execution(job, host).catch(() => undefined) // what fails is asked again
      if (left) return
      if (x) setKnown(x)
      if (!x || !ended(x.state)) timer = setTimeout(ask, again)
    }
    ask()
    return () => {
      left = true
      clearTimeout(timer)
    }
  }, [job, host, wanted])
  return known
}

function Facts({ x, model }) {
  const now = useNow(model, !ended(x.state))
  const at = (name) => (x[name] ? Date.parse(x[name]) : undefined)
  const [released, started, finished] = ["released_at", "started_at", "finished_at"].map(at)
  const why = finished ? undefined : x.why
  const runs = ["running", "running_away"].includes(why?.code) // since when, it says itself
  return html`<p class="facts">
    <${State} name=${x.state} />
    ${x.result && html`<b class="how">${how(x.result)}</b>`}
    ${x.cancelled_at && !finished && html`<span>cancel asked for</span>`}
    ${started && !runs && html`<span>started <time datetime=${x.started_at}>${when(started, now)}</time></span>`}
    ${started && !runs && html`<span>${finished ? "ran" : "running for"} ${span((finished ?? now) - started)}</span>`}
    ${!started && !finished && released && html`<span>waiting for ${span(now - released)}</span>`}
    ${x.deliveries > 1 && html`<span>delivered ${x.deliveries} times</span>`}
    <span>${size(x.output.stdout + x.output.stderr)} of output${x.output.stderr > 0 ? `, ${size(x.output.stderr)} stderr` : ""}</span>
    ${x.late && html`<span class="late">a late result came at <time datetime=${x.late.at}>${when(x.late.at, now)}</time>: ${label(clean(x.late.outcome))}, ${how(x.late)}</span>`}
  </p>
  ${why && html`<p class="why ${why.code === "running" ? "calm" : ""}"><${Why} why=${why} now=${now} /></p>`}`
}

// how tells how an execution ended.
function how(result) {
  const parts = []
  if (result.exit_code >= 0) parts.push(`exit ${result.exit_code}`)
  if (result.signal) parts.push(`signal ${clean(result.signal, 40)}`)
  if (result.reason) parts.push(clean(result.reason, 500))
  return parts.join(", ") || "no exit status"
}

// notes are what is to be said behind the last line.
function notes(x) {
  const said = []
  if (x.output.dropped > 0) said.push(`truncated: ${size(x.output.dropped)} beyond the output limit were not kept`)
  if (x.output.deleted) said.push("the output was deleted, its time was over")
  else if (ended(x.state) && x.output.stdout + x.output.stderr === 0) said.push("no output")
  return said
}
