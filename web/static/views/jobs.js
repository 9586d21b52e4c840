import { html, useModel, useNow, useTitle } from "../ui.js"
import { clean } from "../text.js"
import { number, plural, when } from "../format.js"
import { jobState } from "../states.js"
import { toJob } from "../route.js"
import { Bar, Fault, State, took } from "./parts.js"

const newest = 50 // as many as the gateway sends

// Jobs lists the newest jobs.
export function Jobs({ model }) {
  useModel(model)
  useTitle("Jobs")
  const { jobs } = model
  const now = useNow(model, jobs?.some((j) => j.outstanding > 0))
  const problem = model.problems.get("jobs")
  return html`<main class="page">
    <h1>Jobs</h1>
    <${Fault} problem=${problem} />
    ${jobs?.length > 0 && html`<table class="jobs">
      <thead><tr><th>State</th><th>Job</th><th class="n">Hosts</th><th class="wide">Progress</th><th>Submitted</th><th class="n">Took</th><th>By</th></tr></thead>
      <tbody>${jobs.map((job) => html`<${Row} key=${job.id} job=${job} now=${now} />`)}</tbody>
    </table>`}
    ${jobs?.length >= newest && html`<p class="more dim">These are the newest ${newest}; <code>rexctl job list</code> has all.</p>`}
    ${jobs?.length === 0 && html`<div class="empty">
      <p>No jobs yet. The first one, on all hosts:</p>
      <pre>rexctl job run --all -- 'uname -a; uptime'</pre>
    </div>`}
    ${!jobs && !problem && html`<p class="dim waiting">Waiting for the jobs</p>`}
  </main>`
}

function Row({ job, now }) {
  const s = jobState(job)
  const open = (event) => {
    // A click anywhere in the row, unless it selects text or is on the link itself.
    if (!event.target.closest("a") && getSelection().isCollapsed) location.hash = toJob(job.id)
  }
  return html`<tr onClick=${open}>
    <td class="c-state"><${State} name=${s.mark} kind=${s.kind} text=${s.text} /></td>
    <td class="c-job"><a href=${toJob(job.id)}>${job.name ? clean(job.name, 200) : html`<span class="dim">unnamed</span>`}</a> <code class="id">${job.id}</code></td>
    <td class="c-hosts n">${number(job.targets)}</td>
    <td class="c-bar wide"><${Bar} counts=${job.counters} total=${job.targets} /><span class="sum">${summary(job)}</span></td>
    <td class="c-when"><time datetime=${job.created_at} title=${job.created_at}>${when(job.created_at, now)}</time></td>
    <td class="c-took n">${took(job.created_at, job.finished_at, now)}</td>
    <td class="c-by">${clean(job.created_by, 100)}</td>
  </tr>`
}

// summary tells how far a job is.
export function summary(job) {
  const done = job.outstanding > 0 ? `${number(job.done)} of ${number(job.targets)}` : plural(job.targets, "host")
  return job.failed > 0 ? `${done}, ${number(job.failed)} failed` : done
}
