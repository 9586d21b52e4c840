package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/getkin/kin-openapi/openapi3"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/session/wire"
)

// viewer is somebody who watches: it reads what comes, checks each message against the OpenAPI file and against the
// one before, and builds what is known from it.
type viewer struct {
	t         *testing.T
	doc       *openapi3.T
	transport string // socket or sse
	topics    []string

	ws     *websocket.Conn
	resp   *http.Response
	events *bufio.Reader
	ctx    context.Context
	stop   context.CancelFunc

	cursor string
	seqs   map[string]int64
	header http.Header    // of the next opening
	count  map[string]int // of snapshots, deltas, beats, problems
	sizes  []int          // of messages with output

	snapshots map[string]int // by kind of topic

	jobs   map[string]api.Job
	job    *api.Job
	states []byte
	run    *api.Execution
	chunks []api.OutputChunk
	output []byte
	fault  map[string]api.Problem
}

// patience bounds the wait for a message.
const patience = 20 * time.Second

func newViewer(t *testing.T, transport string, topics ...string) *viewer {
	doc, _ := loadSpec(t)
	return &viewer{t: t, doc: doc, transport: transport, topics: topics, seqs: map[string]int64{}, count: map[string]int{}, snapshots: map[string]int{}, fault: map[string]api.Problem{}}
}

// view opens a watch.
func (b *bed) view(t *testing.T, transport, token string, topics ...string) *viewer {
	t.Helper()
	v := newViewer(t, transport, topics...)
	v.open(b, token)
	return v
}

// path is the address of the watch, from the cursor on.
func (v *viewer) path() string {
	q := url.Values{"topic": v.topics}
	if v.cursor != "" {
		q.Set("cursor", v.cursor)
	}
	return "/v1/watch?" + q.Encode()
}

// open opens the watch, where it stood if it has a cursor.
func (v *viewer) open(b *bed, token string) {
	v.t.Helper()
	ctx, cancel := context.WithCancel(v.t.Context())
	v.ctx, v.stop = ctx, cancel
	h := http.Header{"Authorization": {"Bearer " + token}}
	maps.Copy(h, v.header)
	if v.transport == "socket" {
		ws, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(b.url, "http")+v.path(), &websocket.DialOptions{Subprotocols: []string{api.WatchProtocol}, HTTPHeader: h})
		if err != nil {
			if resp != nil {
				body, _ := io.ReadAll(resp.Body)
				v.t.Fatalf("%v: %s", err, body)
			}
			v.t.Fatal(err)
		}
		ws.SetReadLimit(-1)
		v.ws = ws
	} else {
		req, err := http.NewRequestWithContext(ctx, "GET", b.url+v.path(), nil)
		if err != nil {
			v.t.Fatal(err)
		}
		req.Header = h
		req.Header.Set("Accept", "text/event-stream")
		if v.resp, err = http.DefaultClient.Do(req); err != nil {
			v.t.Fatal(err)
		}
		if v.resp.StatusCode != 200 || v.resp.Header.Get("Content-Type") != "text/event-stream" {
			body, _ := io.ReadAll(v.resp.Body)
			v.t.Fatalf("%d %v %s", v.resp.StatusCode, v.resp.Header, body)
		}
		v.events = bufio.NewReader(v.resp.Body)
	}
	v.t.Cleanup(v.cut)
}

// cut ends the connection without a word.
func (v *viewer) cut() {
	v.stop()
	if v.ws != nil {
		_ = v.ws.CloseNow()
		v.ws = nil
	}
	if v.resp != nil {
		v.resp.Body.Close()
		v.resp = nil
	}
}

// read gives the next message, or how the watch ended.
func (v *viewer) read() ([]byte, *api.WatchEnd) {
	v.t.Helper()
	timer := time.AfterFunc(patience, v.stop)
	defer timer.Stop()
	if v.ws != nil {
		_, text, err := v.ws.Read(v.ctx)
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			retry, reason := wire.ParseCloseReason(closed.Reason)
			return nil, &api.WatchEnd{Code: int(closed.Code), Retry: int(retry.Seconds()), Reason: reason}
		}
		if err != nil {
			v.t.Fatalf("reading: %v; known are %+v, %+v, %q, %q", err, v.jobs, v.run, v.states, v.output)
		}
		return text, nil
	}
	e := v.event()
	if e.kind == "end" {
		var end api.WatchEnd
		v.conforms("WatchEnd", e.data)
		if err := json.Unmarshal(e.data, &end); err != nil {
			v.t.Fatal(err)
		}
		if _, err := v.events.ReadByte(); err != io.EOF || (end.Retry > 0) != (e.retry != "") {
			v.t.Errorf("after the last event: %v; retry %q", err, e.retry)
		}
		return nil, &end
	}
	if id := e.id; id != "" {
		var m api.WatchMessage
		if err := json.Unmarshal(e.data, &m); err != nil || m.Cursor != id {
			v.t.Errorf("the event's id is %q, the cursor %q", id, m.Cursor)
		}
	}
	return e.data, nil
}

// next takes the next message in, and gives it. Signs of life are counted and passed over.
func (v *viewer) next() *api.WatchMessage {
	v.t.Helper()
	for began := time.Now(); ; {
		if time.Since(began) > patience {
			v.t.Fatalf("only signs of life for %v; known are %+v, %+v, %+v, %q, %q", patience, v.jobs, v.job, v.run, v.states, v.output)
		}
		text, end := v.read()
		if end != nil {
			v.t.Fatalf("the watch has ended: %+v", end)
		}
		if len(text) < 100<<10 {
			v.conforms("WatchMessage", text)
		}
		var m api.WatchMessage
		if err := json.Unmarshal(text, &m); err != nil {
			v.t.Fatal(err)
		}
		if m.Topic == "" {
			v.count["beat"]++
			continue
		}
		if len(m.Output) > 0 {
			v.sizes = append(v.sizes, len(text))
		}
		v.take(&m)
		return &m
	}
}

func (v *viewer) take(m *api.WatchMessage) {
	v.t.Helper()
	v.cursor = m.Cursor
	switch {
	case m.Problem != nil:
		v.count["problem"]++
		v.fault[m.Topic] = *m.Problem
		return
	case m.Snapshot:
		v.count["snapshot"]++
		kind, _, _ := strings.Cut(m.Topic, ":")
		v.snapshots[kind]++
		if m.Prev != 0 || len(m.Output) > 0 {
			v.t.Errorf("a snapshot that says more: %+v", m)
		}
	default:
		v.count["delta"]++
		if m.Prev == 0 || m.Prev != v.seqs[m.Topic] || m.Seq <= m.Prev {
			v.t.Fatalf("%s: a gap: from %d to %d, but %d is known", m.Topic, m.Prev, m.Seq, v.seqs[m.Topic])
		}
	}
	v.seqs[m.Topic] = m.Seq
	switch kind, _, _ := strings.Cut(m.Topic, ":"); kind {
	case "jobs":
		if m.Snapshot || v.jobs == nil {
			v.jobs = map[string]api.Job{}
		}
		for _, j := range m.Jobs {
			v.jobs[j.ID] = j
		}
		for _, id := range m.Removed {
			delete(v.jobs, id)
		}
	case "job":
		if m.Snapshot {
			v.job, v.states = nil, nil
		}
		if m.Job != nil {
			v.job = m.Job
		}
		if m.States != nil {
			v.states = m.States
		}
		for _, c := range m.Changes {
			v.states[c[0]] = byte(c[1])
		}
	case "execution":
		if m.Snapshot {
			v.run, v.chunks, v.output = nil, nil, nil
		}
		if m.Execution != nil {
			v.run = m.Execution
		}
		for _, c := range m.Output {
			v.chunk(c)
		}
	}
}

func (v *viewer) chunk(c api.OutputChunk) {
	v.t.Helper()
	if n := len(v.chunks); n > 0 && v.chunks[n-1].Seq >= c.Seq {
		v.t.Errorf("chunk %d after %d", c.Seq, v.chunks[n-1].Seq)
	}
	if c.Offset != int64(len(v.output)) {
		v.t.Errorf("chunk %d is at %d, %d bytes came before", c.Seq, c.Offset, len(v.output))
	}
	v.chunks = append(v.chunks, c)
	v.output = append(append(v.output, c.Text...), c.Base64...)
}

// until reads until something is so.
func (v *viewer) until(what string, ok func() bool) {
	v.t.Helper()
	for end := time.Now().Add(patience); !ok(); v.next() {
		if time.Now().After(end) {
			v.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (v *viewer) says(text string) {
	v.t.Helper()
	v.until(fmt.Sprintf("the output has %.60q", text), func() bool { return bytes.Contains(v.output, []byte(text)) })
}

// ended reads until the watch ends.
func (v *viewer) ended() api.WatchEnd {
	v.t.Helper()
	for {
		text, end := v.read()
		if end != nil {
			return *end
		}
		var m api.WatchMessage
		if err := json.Unmarshal(text, &m); err != nil {
			v.t.Fatal(err)
		}
		if m.Topic != "" {
			v.take(&m)
		}
	}
}

// state is that of the watched execution's host as the job's states have it, and of the others.
func (v *viewer) state() (its, others string) {
	if v.run == nil || v.run.Ordinal >= len(v.states) {
		return "", ""
	}
	i := v.run.Ordinal
	return string(v.states[i : i+1]), string(v.states[:i]) + string(v.states[i+1:])
}

// are tells whether the watched execution's host is in a state, and the other one in another.
func (v *viewer) are(its, other string) bool {
	a, b := v.state()
	return a == its && b == other
}
