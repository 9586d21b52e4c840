package faults

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
)

// selector is that of jobs which choose their hosts by it, and check it again. All match it that aren't labelled.
const selector = labelKey + "!=" + unwanted

const (
	labelKey = "color"
	unwanted = "red"
	wanted   = "blue"
)

// meddling is what operators did to hosts, with when.
type meddling struct {
	mu     sync.Mutex // guards the following
	purges []purge
	labels map[string][]relabel // by host, in order
}

// span is when something was asked for, and when that was answered.
type span struct {
	Asked    time.Time `json:"asked"`
	Answered time.Time `json:"answered,omitzero"` // zero = it wasn't: it may have been done
}

type purge struct {
	Host string `json:"host"`
	span
}

type relabel struct {
	wanted bool
	span
}

// meddle purges the queues of hosts, and changes labels, until ctx ends.
func (l *load) meddle(ctx context.Context, seed uint64) {
	const every = 400 * time.Millisecond
	r := rand.New(rand.NewPCG(seed, 3))
	light, _ := l.w.hosts()
	away := map[string]bool{} // hosts that are labelled so that they don't match
	for n := 0; pause(ctx, every) == nil; n++ {
		g := l.w.gateways[n%len(l.w.gateways)]
		host := light[r.IntN(len(light))]
		if r.IntN(3) == 0 {
			l.purge(g, host, r.IntN(4) == 0)
			continue
		}
		if len(away) > len(light)/10 {
			for host = range away {
				break
			}
		}
		l.relabel(g, host, away[host])
		if away[host] {
			delete(away, host)
		} else {
			away[host] = true
		}
	}
}

// once bounds a call that another fault may be in the way of.
func once(call func(context.Context) error) (s span) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s.Asked = time.Now()
	if call(ctx) == nil {
		s.Answered = time.Now()
	}
	return s
}

func (l *load) purge(g *gate, host string, running bool) {
	l.meddled.mu.Lock()
	i := len(l.meddled.purges) // it counts from now on: what it ends may be looked at before it is answered
	l.meddled.purges = append(l.meddled.purges, purge{host, span{Asked: time.Now()}})
	l.meddled.mu.Unlock()
	s := once(func(ctx context.Context) error {
		_, err := g.op.PurgeHost(ctx, host, running)
		return err
	})
	l.meddled.mu.Lock()
	defer l.meddled.mu.Unlock()
	l.meddled.purges[i].span = s
}

func (l *load) relabel(g *gate, host string, want bool) {
	value := unwanted
	if want {
		value = wanted
	}
	s := once(func(ctx context.Context) error {
		_, err := g.op.PatchHost(ctx, host, api.HostPatch{Labels: map[string]*string{labelKey: &value}})
		return err
	})
	l.meddled.mu.Lock()
	defer l.meddled.mu.Unlock()
	l.meddled.labels[host] = append(l.meddled.labels[host], relabel{want, s})
}
