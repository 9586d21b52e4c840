package redisqueue

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/queue"
)

// Calls of one script and partition share a script, within bounds, never two of
// one host, and in the order in which each host's came.
func TestGroup(t *testing.T) {
	lease, record := &script{name: "lease"}, &script{name: "record"}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	var batch []*laned
	add := func(sc *script, p int, host string, size, keys int) {
		batch = append(batch, &laned{ctx: context.Background(), sc: sc, p: p, host: queue.HostID(host), keys: make([]string, keys),
			call: strings.Repeat("x", size), done: make(chan struct{})})
	}
	for i := range 20 {
		add(lease, 1, fmt.Sprint("h", i), 10, 1)
	}
	add(lease, 2, "other", 10, 1)
	add(record, 1, "h0", scriptBytes-5, 1)
	add(record, 1, "h1", 10, 1)
	add(record, 1, "h1", 10, 1)
	add(record, 3, "many", 10, scriptKeys)
	add(record, 3, "more", 10, 1)
	batch = append(batch, &laned{ctx: gone, sc: lease, p: 1, host: "late", done: make(chan struct{})})
	var got []string
	for _, g := range group(batch) {
		text := g[0].sc.name + fmt.Sprint(g[0].p)
		for _, c := range g {
			if c.sc != g[0].sc || c.p != g[0].p {
				t.Errorf("%s of %d is with %s", c.sc.name, c.p, text)
			}
		}
		got = append(got, text+":"+fmt.Sprint(len(g)))
	}
	want := "lease1:20 lease2:1 record1:1 record1:1 record1:1 record3:1 record3:1"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("groups %s, want %s", s, want)
	}
	last := batch[len(batch)-1]
	select {
	case <-last.done:
	default:
		t.Error("a call whose caller has gone wasn't answered")
	}
}
