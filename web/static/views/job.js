import { html, useAsk, useEffect, useMemo, useModel, useNow, useState, useTitle } from "../ui.js"
import * as api from "../api.js"
import { clean } from "../text.js"
import { number, plural, size, when } from "../format.js"
import { failures, jobState, label, stateOfByte, states } from "../states.js"
import { Targets } from "../model.js"
import { toHost, toJob, toJobs } from "../route.js"
import { Ask, Bar, byName, Fault, Mark, State, took } from "./parts.js"
import { Execution } from "./execution.js"
import { Rows } from "./rows.js"
import { WhyNot } from "./why.js"

const rowHeight = 30

// Job shows a job, its hosts, and beside them one host's output.
export function Job({ model, id, host, session }) {
  useModel(model)
  const known = model.job?.job?.id === id ? model.job : undefined
  const [, draw] = useState(0)
  const targets = useMemo(() => new Targets((from, limit) => api.targets(id, from, limit), () => draw((n) => n + 1)), [id])
  const problem = model.problems.get(`job:${id}`)
  const title = known && clean(known.job.name || "unnamed", 60)
  useTitle(title && (host ? `${clean(host, 60)} · ${title}` : title))
  // A job on one host has no list worth looking at, where both have room.
  const only = known?.job.targets === 1 && !host ? targets.name(0) : undefined
  useEffect(() => {
    if (only && matchMedia("(min-width: 1000px)").matches) location.replace(toHost(id, only))
  }, [only])
  if (!known) {
    return html`<main class="page"><p><a href=${toJobs}>All jobs</a></p>
      ${problem ? html`<${Fault} problem=${problem} />` : html`<p class="dim waiting">Waiting for the job</p>`}
    </main>`
  }
  return html`<main class="split ${host ? "with-host" : ""}">
    <section class="hosts" aria-label="The job and its hosts">
      <${Head} job=${known.job} model=${model} session=${session} />
      <${Fault} problem=${problem} />
      <${Hosts} key=${id} job=${known.job} states=${known} targets=${targets} host=${host} />
    </section>
    <section class="output" aria-label="Output">
      ${host ? html`<${Execution} key=${host} model=${model} job=${id} host=${host} session=${session} />`
        : html`<p class="choose dim">Choose a host to see its output as it comes.</p>`}
    </section>
  </main>`
}

function Head({ job, model, session }) {
  const now = useNow(model, job.outstanding > 0)
  const s = jobState(job)
  const may = (...scopes) => scopes.every((scope) => session.scopes.includes(scope))
  return html`<header class="head">
    <h1><a class="up" href=${toJobs} title="All jobs">Jobs</a> <span class="sep">/</span> ${job.name ? clean(job.name, 200) : "unnamed"}</h1>
    <p class="facts">
      <${State} name=${s.mark} kind=${s.kind} text=${s.text} />
      <span><b>${took(job.created_at, job.finished_at, now)}</b> since <time datetime=${job.created_at}>${when(job.created_at, now)}</time></span>
      <span>by ${clean(job.created_by, 100)}</span>
      <span>on ${{ hosts: "named hosts", all: "all hosts" }[job.selection] ?? clean(job.selection, 200)}</span>
      ${job.lane !== "default" && html`<span>lane ${clean(job.lane)}</span>`}
      ${job.rerun_of && html`<span>re-run of <a href=${toJob(job.rerun_of)}><code>${job.rerun_of}</code></a></span>`}
      <${Policies} job=${job} />
      <code class="id">${job.id}</code>
    </p>
    <div class="tools">
      <${Script} key=${job.id} job=${job} />
      ${job.outstanding > 0 && html`<${WhyNot} key=${`why ${job.id}`} job=${job} model=${model} />`}
      ${job.outstanding > 0 && job.control !== "cancelled" && may("jobs:cancel") && html`<${Cancel} job=${job} />`}
      ${job.outstanding === 0 && job.failed > 0 && may("jobs:submit", "jobs:read") && html`<${Rerun} job=${job} />`}
    </div>
  </header>`
}

// Policies are those that aren't the default.
const Policies = ({ job }) => html`
  ${job.offline === "skip" && html`<span title="Hosts that are offline when it becomes due are left out">skips offline hosts</span>`}
  ${job.offline && !["skip", "wait"].includes(job.offline) && html`<span>offline: ${clean(job.offline, 100)}</span>`}
  ${job.supersede_key && html`<span title="A newer job with this key replaces it where it still waits">supersedes by <code>${clean(job.supersede_key, 200)}</code></span>`}
  ${job.recheck && html`<span title="Hosts whose labels don't match any more when it is delivered are left out">rechecked${job.recheck !== job.selection && html` by <code>${clean(job.recheck, 500)}</code>`} at delivery</span>`}`

function Script({ job }) {
  const [script, setScript] = useState()
  const [fetch, { problem }] = useAsk(async () => setScript(await api.script(job.id)))
  const toggle = (event) => event.currentTarget.open && !script && fetch()
  return html`<details class="script" onToggle=${toggle}>
    <summary>Script <span class="dim">${size(job.script_size)}</span></summary>
    <${Fault} problem=${problem} />
    ${script && html`<pre tabindex="0">${script.script === undefined ? "not text" : lines(script.script)}</pre>`}
  </details>`
}

// lines shows a script's lines with what is hidden in them.
const lines = (text) => text.split("\n").map((l) => l.split("\t").map((t) => clean(t, Infinity)).join("\t")).join("\n")

function Cancel({ job }) {
  const [asking, setAsking] = useState(false)
  const [cancel, { busy, problem }] = useAsk(async () => {
    await api.cancel(job.id)
    setAsking(false)
  })
  return html`<button type="button" onClick=${() => setAsking(true)}>Cancel job</button>
    ${asking && html`<${Ask} title="Cancel this job?" action="Cancel the job" busy=${busy} problem=${problem} onYes=${cancel} onNo=${() => setAsking(false)}
      text=${`${plural(job.outstanding, "host")} ${job.outstanding === 1 ? "hasn't" : "haven't"} finished. What waits never starts; what runs is ended with all its processes.`} />`}`
}

function Rerun({ job }) {
  // A key for as long as the button is there: pressing it again makes no second job.
  const key = useMemo(() => crypto.randomUUID?.() ?? `${job.id}-${Math.random()}`, [job.id])
  const [rerun, { busy, problem }] = useAsk(async () => {
    const again = await api.rerun(job.id, failures, key)
    location.hash = toJob(again.id)
  })
  return html`<button type="button" disabled=${busy} onClick=${rerun}>Run again on ${number(job.failed)} failed</button>
    <${Fault} problem=${problem} />`
}

// Hosts lists the job's hosts by ordinal, all or those in one state.
function Hosts({ job, states: known, targets, host }) {
  const [only, setOnly] = useState("")
  const counts = byName(known.counts)
  const shown = useMemo(() => ordinals(known.states, only), [known, known.version, only])
  useEffect(() => {
    if (only !== "" && !counts[only]) setOnly("")
  }, [only, counts[only]])
  const chip = (name, n, mark) => html`<button key=${name} type="button" class="chip" aria-pressed=${only === name} onClick=${() => setOnly(only === name ? "" : name)}>
    ${mark}${name === "" ? "all" : label(name)} <b>${number(n)}</b></button>`
  return html`
    <${Bar} counts=${counts} total=${known.states.length || 1} />
    <div class="chips" role="group" aria-label="Show hosts by state">
      ${chip("", known.states.length)}
      ${states.filter((s) => counts[s.name] > 0).map((s) => chip(s.name, counts[s.name], html`<${Mark} name=${s.name} />`))}
    </div>
    <p class="live" aria-live="polite">${job.outstanding === 0 ? `The job has ended: ${plural(job.failed, "failure")} on ${plural(job.targets, "host")}.` : ""}</p>
    <${Rows} key=${only} count=${shown ? shown.length : known.states.length} height=${rowHeight} name="Hosts"
      row=${(i, tab) => html`<${HostRow} job=${job.id} name=${targets.name(shown ? shown[i] : i)} byte=${known.states[shown ? shown[i] : i]} host=${host} tab=${tab} />`} />`
}

function HostRow({ job, name, byte, host, tab }) {
  const s = stateOfByte(byte)
  const current = name !== undefined && name === host
  return html`<a class="host" href=${name === undefined ? undefined : toHost(job, name)} tabindex=${tab} aria-current=${current ? "true" : undefined}>
    <span class="name">${name === undefined ? "…" : clean(name, 200)}</span><${State} name=${s.name} />
  </a>`
}

// ordinals gives those whose execution is in a state; undefined stands for all.
function ordinals(bytes, only) {
  if (only === "") return undefined
  const found = []
  for (let i = 0; i < bytes.length; i++) if (stateOfByte(bytes[i]).name === only) found.push(i)
  return found
}
