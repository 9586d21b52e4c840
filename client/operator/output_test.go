package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
)

// host is a server with one execution whose output grows, and that misbehaves as told.
type host struct {
	mu     sync.Mutex
	grown  *sync.Cond
	data   []byte
	ended  bool
	faults *rand.Rand // nil = none

	noRange  bool          // answers 200 with everything
	asked    func(n int64) // called with each request for output
	requests atomic.Int64
	cuts     atomic.Int64
}

func newHost() *host {
	h := &host{}
	h.grown = sync.NewCond(&h.mu)
	return h
}

func (h *host) write(p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.data = append(h.data, p...)
	h.grown.Broadcast()
}

func (h *host) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.grown.Broadcast()
}

func (h *host) fault(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.faults != nil && h.faults.IntN(n) == 0
}

// after waits for data beyond offset, if it is to follow.
func (h *host) after(ctx context.Context, offset int64, follow bool) ([]byte, bool) {
	stop := context.AfterFunc(ctx, func() { h.mu.Lock(); h.grown.Broadcast(); h.mu.Unlock() })
	defer stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	for follow && ctx.Err() == nil && !h.ended && offset >= int64(len(h.data)) {
		h.grown.Wait()
	}
	if offset > int64(len(h.data)) {
		return nil, true
	}
	return bytes.Clone(h.data[offset:]), h.ended || !follow || ctx.Err() != nil
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/output") {
		h.output(w, r)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	x := api.Execution{Job: "j", Host: "h", State: "running", Output: api.Output{Stdout: int64(len(h.data))}}
	if h.ended {
		now := time.Now()
		x.State, x.FinishedAt = "succeeded", &now
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(x)
}

func (h *host) output(w http.ResponseWriter, r *http.Request) {
	n := h.requests.Add(1)
	if h.asked != nil {
		h.asked(n)
	}
	if h.fault(7) {
		w.Header().Set("Retry-After", "0")
		problem(w, 503, "unavailable", "the store is away")
		return
	}
	var offset int64
	fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &offset)
	follow := r.URL.Query().Get("follow") == "true"
	if offset > 0 && !h.noRange {
		if b, _ := h.after(r.Context(), offset, false); len(b) == 0 && h.fault(2) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		from := offset
		if from > 3 && h.fault(3) {
			from -= 3 // a server that rounds down
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", from, from+1<<20))
		offset = from
		w.WriteHeader(http.StatusPartialContent)
	} else {
		offset = 0
	}
	http.NewResponseController(w).Flush()
	for r.Context().Err() == nil {
		b, last := h.after(r.Context(), offset, follow)
		if h.fault(3) && len(b) > 0 {
			h.cuts.Add(1)
			w.Write(b[:rand.IntN(len(b))])
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Write(b)
		http.NewResponseController(w).Flush()
		offset += int64(len(b))
		if last || h.fault(9) {
			return // perhaps a clean end before its time
		}
	}
}

func problem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", api.ProblemType)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.Problem{Type: "urn:rexgate:problem:" + code, Title: code, Status: status, Code: code, Detail: detail})
}

// serve starts a server for a handler and gives a client of it.
func serve(t *testing.T, h http.Handler, change func(*Options)) *Client {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = nil
	s.Start()
	t.Cleanup(s.Close)
	o := Options{Server: s.URL, Token: StaticToken("t")}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestFollowIsExact cuts connections at random places, and compares what arrived.
func TestFollowIsExact(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newHost()
			h.faults = rand.New(rand.NewPCG(seed, 1))
			h.noRange = seed%4 == 3
			c := serve(t, h, nil)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range 150 {
					h.write(fmt.Appendf(nil, "line %d of the output\n", i))
					time.Sleep(time.Millisecond) // a script that takes its time
				}
				h.end()
			}()
			var got bytes.Buffer
			n, err := c.CopyOutput(t.Context(), &got, OutputRequest{Job: "j", Host: "h", Stream: Stdout, Follow: true})
			<-done
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), h.data) || n != int64(len(h.data)) {
				t.Fatalf("%d bytes arrived (%d reported), %d were sent; they differ", got.Len(), n, len(h.data))
			}
			t.Logf("%d requests, %d cuts", h.requests.Load(), h.cuts.Load())
		})
	}
}

// TestFollowFromOffset begins in the middle, and counts from there.
func TestFollowFromOffset(t *testing.T) {
	h := newHost()
	h.write([]byte("hello world"))
	h.end()
	c := serve(t, h, nil)
	var got strings.Builder
	n, err := c.CopyOutput(t.Context(), &got, OutputRequest{Job: "j", Host: "h", Offset: 6, Follow: true})
	if err != nil || got.String() != "world" || n != 5 {
		t.Errorf("%q %d %v", got.String(), n, err)
	}
}

// TestOutputAsStored doesn't wait for more.
func TestOutputAsStored(t *testing.T) {
	h := newHost()
	h.write([]byte("half"))
	c := serve(t, h, nil)
	var got strings.Builder
	if _, err := c.CopyOutput(t.Context(), &got, OutputRequest{Job: "j", Host: "h"}); err != nil || got.String() != "half" {
		t.Errorf("%q %v", got.String(), err)
	}
}

// TestQuietOutput replaces a connection that is silent, without calling that trouble.
func TestQuietOutput(t *testing.T) {
	h := newHost()
	h.write([]byte("a"))
	c := serve(t, h, func(o *Options) { o.Silence = 20 * time.Millisecond; o.Patience = time.Millisecond })
	h.asked = func(n int64) {
		if n == 4 {
			h.write([]byte("b"))
			h.end()
		}
	}
	var got strings.Builder
	_, err := c.CopyOutput(t.Context(), &got, OutputRequest{Job: "j", Host: "h", Stream: Stdout, Follow: true,
		Trouble: func(err error) { t.Errorf("trouble: %v", err) }})
	if err != nil || got.String() != "ab" {
		t.Errorf("%q %v", got.String(), err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// TestOutputWriterFails gives the writer's error.
func TestOutputWriterFails(t *testing.T) {
	h := newHost()
	h.write([]byte("a"))
	c := serve(t, h, nil)
	want := errors.New("disk full")
	if _, err := c.CopyOutput(t.Context(), failingWriter{want}, OutputRequest{Job: "j", Host: "h", Follow: true}); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

// TestOutputRefused ends at once where trying again can't help.
func TestOutputRefused(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"forbidden":  func(w http.ResponseWriter, _ *http.Request) { problem(w, 403, "forbidden", "needs output:read") },
		"login page": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html><body>Sign in</body></html>") },
		"wrong range": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 90-99/100")
			w.WriteHeader(206)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, answer, nil)
			var got strings.Builder
			_, err := c.CopyOutput(t.Context(), &got, OutputRequest{Job: "j", Host: "h", Offset: 5, Follow: true})
			if err == nil || got.Len() > 0 {
				t.Errorf("%q %v", got.String(), err)
			}
		})
	}
}

// TestFollowCanceled ends with the context.
func TestFollowCanceled(t *testing.T) {
	h := newHost()
	h.write([]byte("a"))
	c := serve(t, h, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := c.CopyOutput(ctx, writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }),
		OutputRequest{Job: "j", Host: "h", Follow: true})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
