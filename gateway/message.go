package gateway

import (
	"unicode/utf8"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/live"
	"github.com/rexgate/rexgate/queue"
)

// messageOf writes an update of a topic as the API does.
func messageOf(t live.Topic, u *live.Update, cursor string) *api.WatchMessage {
	m := &api.WatchMessage{Topic: t.String(), Cursor: cursor, Snapshot: u.Snapshot, Prev: u.Prev, Seq: u.Seq, States: u.States}
	for _, j := range u.Jobs {
		a := apiJob(j)
		a.Env = nil // up to 64 KiB each, and seen where the job is
		m.Jobs = append(m.Jobs, a)
	}
	for _, id := range u.Removed {
		m.Removed = append(m.Removed, string(id))
	}
	if u.Job != nil {
		a := apiJob(*u.Job)
		m.Job = &a
	}
	for _, c := range u.Changes {
		m.Changes = append(m.Changes, api.StateChange{c.Ordinal, int(c.State)})
	}
	if u.Execution != nil {
		a := apiExecution(*u.Execution)
		a.Why = apiWhy(u.Why)
		m.Execution = &a
	}
	for _, c := range u.Output {
		m.Output = append(m.Output, apiChunk(c))
	}
	return m
}

func apiChunk(c queue.Chunk) api.OutputChunk {
	a := api.OutputChunk{Seq: c.Seq, At: c.At.UnixMilli(), Offset: c.Offset, Gap: c.Gap}
	switch c.Stream {
	case queue.Stdout:
		a.Stream = "stdout"
	case queue.Stderr:
		a.Stream = "stderr"
	}
	switch {
	case c.Gap > 0:
	case utf8.Valid(c.Data):
		a.Text = string(c.Data)
	default:
		a.Base64 = c.Data
	}
	return a
}
