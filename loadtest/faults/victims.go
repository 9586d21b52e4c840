package faults

import (
	"context"
)

func aGateway(w *world, f fault) victim {
	g := w.gateways[f.Victim%uint64(len(w.gateways))]
	return victim{name: g.name, busy: &g.busy, gate: g}
}

func theRedis(w *world, _ fault) victim {
	return victim{name: "redis", busy: &w.redis.busy, redis: w.redis}
}

func aStoreLink(w *world, f fault) victim {
	g := w.gateways[f.Victim%uint64(len(w.gateways))]
	return victim{name: g.store.name, busy: &g.linkBusy, links: []*relay{g.store}}
}

func aCrew(w *world, f fault) victim {
	c := w.crews[f.Victim%uint64(len(w.crews))]
	return victim{name: c.name, busy: &c.busy, crew: c, hosts: c.hosts}
}

func aReal(w *world, f fault) victim {
	r := w.reals[f.Victim%uint64(len(w.reals))]
	return victim{name: r.host, busy: &r.busy, real: r, hosts: []string{r.host}}
}

// aLink strikes the connections of some of the hosts of a crew, or of a real host.
func aLink(w *world, f fault) victim {
	if n := uint64(len(w.reals)); n > 0 && f.How>>40%4 == 0 {
		r := w.reals[f.Victim%n]
		return victim{name: "links of " + r.host, busy: &r.linkBusy, real: r, links: w.links[r.host], hosts: []string{r.host}}
	}
	c := w.crews[f.Victim%uint64(len(w.crews))]
	v := victim{name: "links of " + c.name, busy: &c.linkBusy, crew: c}
	for i, h := range c.hosts {
		if f.How>>8&1 == 0 || i%4 == int(f.How>>9%4) {
			v.hosts = append(v.hosts, h)
			v.links = append(v.links, w.links[h]...)
		}
	}
	return v
}

func (v victim) process() *process {
	switch {
	case v.gate != nil:
		return v.gate.process
	case v.redis != nil:
		return v.redis.master().process
	case v.crew != nil:
		return v.crew.process
	}
	return v.real.process
}

// up starts a victim's process again.
func (v victim) up(ctx context.Context, w *world) error {
	switch {
	case v.gate != nil:
		return w.up(ctx, v.gate)
	case v.redis != nil:
		return v.redis.master().up(ctx)
	case v.crew != nil:
		return v.crew.begin(ctx)
	}
	return v.real.start()
}
