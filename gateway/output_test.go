package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/gateway/live"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// running enrols a host and has it run a job.
func (b *bed) running(id string) (api.Job, *play) {
	b.t.Helper()
	m := b.enroll(id, nil)
	m.hello()
	job := b.submit(api.JobRequest{Script: "true", Hosts: []string{id}})
	return job, m.start()
}

func outputPath(job api.Job, host string) string {
	return "/v1/jobs/" + job.ID + "/executions/" + host + "/output"
}

func TestOutput(t *testing.T) {
	b := newBed(t)
	job, p := b.running("web-1")
	path := outputPath(job, "web-1")
	if a := b.ask("GET", path, b.operator(), nil).is(200, ""); len(a.body) != 0 || a.header.Get(api.OutputState) != "running" {
		t.Errorf("before the first output: %q %v", a.body, a.header)
	}
	p.says(wire.Stdout, "one\n")
	p.says(wire.Stderr, "oops\n")
	p.loses(100)
	p.says(wire.Stdout, "twö\n")
	for _, c := range []struct {
		query, rng     string
		status         int
		body, rangeOut string
	}{
		{"", "", 200, "one\noops\ntwö\n", ""},
		{"?stream=stdout", "", 200, "one\ntwö\n", ""},
		{"?stream=stderr", "", 200, "oops\n", ""},
		{"", "bytes=0-3", 206, "one\n", "bytes 0-3/14"},
		{"", "bytes=4-8", 206, "oops\n", "bytes 4-8/14"},
		{"", "bytes=9-", 206, "twö\n", "bytes 9-13/14"},
		{"", "bytes=-5", 206, "twö\n", "bytes 9-13/14"},
		{"", "bytes=-500", 206, "one\noops\ntwö\n", "bytes 0-13/14"},
		{"", "bytes=2-500", 206, "e\noops\ntwö\n", "bytes 2-13/14"},
		{"?stream=stdout", "bytes=4-5", 206, "tw", "bytes 4-5/9"},
		{"?stream=stdout", "bytes=3-6", 206, "\ntw\xc3", "bytes 3-6/9"},
		{"", "bytes=14-", 416, "", "bytes */14"},
		{"", "bytes=20-30", 416, "", "bytes */14"},
		{"", "bytes=5-4", 416, "", "bytes */14"},
		{"", "bytes=-0", 416, "", "bytes */14"},
		{"", "bytes=x-", 416, "", "bytes */14"},
		{"", "bytes=0-1,3-4", 200, "one\noops\ntwö\n", ""},
		{"", "lines=0-1", 200, "one\noops\ntwö\n", ""},
	} {
		var headers []string
		if c.rng != "" {
			headers = []string{"Range", c.rng}
		}
		a := b.ask("GET", path+c.query, b.operator(), nil, headers...)
		if a.status != c.status || (c.status < 300 && string(a.body) != c.body) || a.header.Get("Content-Range") != c.rangeOut {
			t.Errorf("%s %s: %d %q %q; want %d %q %q", c.query, c.rng, a.status, a.body, a.header.Get("Content-Range"), c.status, c.body, c.rangeOut)
		}
		if c.status < 300 && (a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") ||
			a.header.Get(api.OutputGap) != "100" || a.header.Get(api.OutputTruncated) != "") {
			t.Errorf("%s %s: %v", c.query, c.rng, a.header)
		}
	}
	for _, query := range []string{"", "?follow=true"} {
		if a := b.ask("HEAD", path+query, b.operator(), nil).is(200, ""); a.header.Get("Content-Length") != "14" || a.header.Get(api.OutputState) != "running" || len(a.body) != 0 {
			t.Errorf("HEAD %s: %v", query, a.header)
		}
	}
	if a := b.ask("HEAD", path, b.operator(), nil, "Range", "bytes=4-8").is(206, ""); a.header.Get("Content-Range") != "bytes 4-8/14" || a.header.Get("Content-Length") != "5" {
		t.Errorf("HEAD of a range: %v", a.header)
	}
	p.ends(0, 4711)
	if a := b.ask("GET", path, b.operator(), nil).is(200, ""); a.header.Get(api.OutputTruncated) != "4711" || a.header.Get(api.OutputState) != "succeeded" {
		t.Errorf("%v", a.header)
	}
}

// Output of many megabytes comes whole, across the pieces in which it is read.
func TestLargeOutput(t *testing.T) {
	b := newBed(t)
	job, p := b.running("web-1")
	var want strings.Builder
	for i := range 40 {
		msgs := make([]wire.Message, 0, 16)
		for k := range 16 {
			text := strings.Repeat(fmt.Sprintf("%05d\n", i*16+k), 1000)
			want.WriteString(text)
			msgs = append(msgs, &wire.Output{Execution: p.job.Execution, Seq: p.next(), At: 1, Stream: wire.Stdout, Text: text})
		}
		p.m.post(msgs...).is(200, "")
	}
	p.ends(0, 0)
	got := b.ask("GET", outputPath(job, "web-1"), b.operator(), nil).is(200, "").body
	if string(got) != want.String() {
		t.Errorf("%d bytes, want %d", len(got), want.Len())
	}
	got = b.ask("GET", outputPath(job, "web-1")+"?follow=true", b.operator(), nil).is(200, "").body
	if string(got) != want.String() {
		t.Errorf("followed: %d bytes, want %d", len(got), want.Len())
	}
}

// follower reads a followed output by lines.
type follower struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Reader
}

func (b *bed) follow(t *testing.T, path, token, rng string) *follower {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", b.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if rng != "" {
		req.Header.Set("Range", rng)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &follower{t: t, resp: resp, lines: bufio.NewReader(resp.Body)}
}

func (f *follower) line(want string) {
	f.t.Helper()
	got, err := f.lines.ReadString('\n')
	if err != nil || got != want {
		f.t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

func (f *follower) end() error {
	_, err := io.Copy(io.Discard, f.lines)
	return err
}

// Followed output comes as it is stored, on the host's gateway and on others,
// and ends with the execution.
func TestFollow(t *testing.T) {
	b := newBed(t)
	other := newBedOn(t, b.store, b.signer, nil)
	job, p := b.running("web-1")
	path := outputPath(job, "web-1") + "?follow=true"
	p.says(wire.Stdout, "one\n")
	here, there := b.follow(t, path, b.operator(), ""), other.follow(t, path, b.operator(), "")
	part := b.follow(t, path, b.operator(), "bytes=4-")
	err := b.follow(t, path+"&stream=stderr", b.operator(), "")
	for _, f := range []*follower{here, there} {
		f.line("one\n")
	}
	for i := range 5 {
		text := fmt.Sprintf("line %d\n", i)
		p.says(wire.Stdout, text)
		for _, f := range []*follower{here, there, part} {
			f.line(text)
		}
	}
	at := time.Now()
	p.says(wire.Stderr, "oops\n")
	here.line("oops\n")
	if d := time.Since(at); d > time.Second {
		t.Errorf("output took %v", d)
	}
	err.line("oops\n")
	if n := b.g.runs.Watching(); n != 1 {
		t.Errorf("%d readers for the watchers of one execution", n)
	}
	if cr := part.resp.Header.Get("Content-Range"); part.resp.StatusCode != 206 || cr != "bytes 4-9007199254740991/*" {
		t.Errorf("%d %q", part.resp.StatusCode, cr)
	}
	p.ends(3, 12)
	for i, f := range []*follower{here, there, part, err} {
		if e := f.end(); e != nil {
			t.Errorf("follower %d: %v", i, e)
		}
		if f.resp.Trailer.Get(api.OutputState) != "failed" || f.resp.Trailer.Get(api.OutputTruncated) != "12" {
			t.Errorf("follower %d: trailer %v", i, f.resp.Trailer)
		}
	}
	// What resumes at the very end gets an end, not an error.
	b.ask("GET", path, b.operator(), nil, "Range", "bytes=44-").is(206, "")
	b.ask("GET", path, b.operator(), nil, "Range", "bytes=45-").is(416, "range")
	b.ask("GET", path, b.operator(), nil, "Range", "bytes=4-9").is(416, "range")
	until(t, "all watchers are gone", func() bool { return b.g.runs.Watching() == 0 && other.g.runs.Watching() == 0 })
}

// What ends a followed output before the execution ends is noticed: it is cut.
func TestFollowIsCutNotEnded(t *testing.T) {
	b := newBed(t)
	job, p := b.running("web-1")
	path := outputPath(job, "web-1") + "?follow=true"
	p.says(wire.Stdout, "one\n")
	t.Run("token expires", func(t *testing.T) {
		token, _, err := b.signer.SignOperator(auth.Operator{Subject: "ann", Scopes: auth.Scopes()}, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		f := b.follow(t, path, token, "")
		f.line("one\n")
		if err := f.end(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("ends with %v", err)
		}
	})
	t.Run("gateway goes", func(t *testing.T) {
		other := newBedOn(t, b.store, b.signer, nil)
		f := other.follow(t, path, b.operator(), "")
		f.line("one\n")
		if err := other.stop(); err != nil {
			t.Error(err)
		}
		if err := f.end(); err == nil {
			t.Error("ends as if all had come")
		}
	})
	t.Run("reader goes", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", b.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+b.operator())
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "it is watched", func() bool { return b.g.runs.Watching() == 1 })
		cancel()
		resp.Body.Close()
		until(t, "nobody watches", func() bool { return b.g.runs.Watching() == 0 })
	})
	p.ends(0, 0)
}

// forgetful fails to give output for some readings.
type forgetful struct {
	queue.Store
	fails atomic.Int64
}

func (s *forgetful) Output(ctx context.Context, q queue.OutputQuery) ([]queue.Chunk, error) {
	if s.fails.Add(-1) >= 0 {
		return nil, &queue.Error{Code: queue.Unavailable, Message: "the store is away"}
	}
	return s.Store.Output(ctx, q)
}

// A reading that fails is done again, though nothing happens to the execution that would be a reason to: neither
// while it is silent, nor at its end, where what is missing would look like a loss.
func TestFollowReadsAgain(t *testing.T) {
	store := &forgetful{Store: newStore(t)}
	b := newBedOn(t, store, newSigner(t), nil)
	job, p := b.running("web-1")
	p.says(wire.Stdout, "one\n")
	store.fails.Store(1)
	f := b.follow(t, outputPath(job, "web-1")+"?follow=true", b.operator(), "")
	f.line("one\n")
	store.fails.Store(1)
	p.says(wire.Stdout, "two\n")
	p.ends(0, 0)
	f.line("two\n")
	if err := f.end(); err != nil {
		t.Error(err)
	}
	if store.fails.Load() >= 0 {
		t.Error("no reading has failed")
	}
}

// counted counts the readings of executions.
type counted struct {
	queue.Store
	reads atomic.Int64
}

func (c *counted) Execution(ctx context.Context, job queue.JobID, host queue.HostID) (queue.Execution, error) {
	c.reads.Add(1)
	return c.Store.Execution(ctx, job, host)
}

// What a host reports here is read at once for those who watch, and not at the next
// interval.
func TestReportWakesWatchers(t *testing.T) {
	store := &counted{Store: newStore(t)}
	b := newBedOn(t, store, newSigner(t), nil)
	job, p := b.running("web-1")
	f := b.follow(t, outputPath(job, "web-1")+"?follow=true", b.operator(), "")
	// Until the reader is at its slowest: right after such a reading, the next one by
	// itself is a whole interval away.
	reading := func() time.Time {
		n := store.reads.Load()
		until(t, "it is read", func() bool { return store.reads.Load() > n })
		return time.Now()
	}
	for last := reading(); ; {
		at := reading()
		if at.Sub(last) > live.DefaultPace.Longest*9/10 {
			break
		}
		last = at
	}
	at := time.Now()
	p.says(wire.Stdout, "one\n")
	f.line("one\n")
	if d := time.Since(at); d > live.DefaultPace.Longest*8/10 {
		t.Errorf("seen after %v", d)
	}
	p.ends(0, 0)
	if err := f.end(); err != nil {
		t.Error(err)
	}
}
