package faults

import (
	"context"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// cut resets connections: at once, or in the middle of what comes next; new ones come through, or not.
func cut(_ context.Context, _ *run, f fault, v victim) (func(context.Context) error, error) {
	for _, l := range v.links {
		switch f.How % 3 {
		case 0:
			l.cut(false)
		case 1:
			l.cut(true)
		case 2:
			l.cutAfter(int64(1 + f.How>>16%400))
		}
	}
	return func(context.Context) error {
		for _, l := range v.links {
			l.cut(false)
		}
		return nil
	}, nil
}

// cancelled cuts a host off, and cancels its execution meanwhile: what it says of it comes after that.
func cancelled(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	id := queue.ExecutionID(v.held)
	for i := range v.hosts {
		if id != "" {
			break
		}
		id = queue.ExecutionID(r.anyOf(ctx, f, v.hosts[(i+int(f.How>>4%64))%len(v.hosts)]))
	}
	job, host, err := id.Split()
	if err != nil {
		return nil, errNothing
	}
	undo, err := cut(ctx, r, fault{How: 1}, v)
	if err != nil {
		return nil, err
	}
	r.load.cancelOne(ctx, f, string(job), string(host))
	return undo, nil
}

// anyOf gives an execution of a host that hasn't ended; "" = there is none.
func (r *run) anyOf(ctx context.Context, f fault, host string) string {
	queue, err := hostQueue(ctx, r.w.gateways[int(f.How%uint64(len(r.w.gateways)))].op, host)
	if err != nil {
		return ""
	}
	for id := range queue {
		return id
	}
	return ""
}

func halfOpen(_ context.Context, _ *run, f fault, v victim) (func(context.Context) error, error) {
	dirs := [][]int{{downwards}, {upwards}, {downwards, upwards}}[f.How%3]
	var undo []func()
	for _, l := range v.links {
		undo = append(undo, l.freeze(dirs...))
	}
	return func(context.Context) error {
		for _, f := range undo {
			f()
		}
		return nil
	}, nil
}

func slow(_ context.Context, _ *run, f fault, v victim) (func(context.Context) error, error) {
	for _, l := range v.links {
		l.delay.Store(int64(time.Duration(5+f.How%200) * time.Millisecond))
	}
	return func(context.Context) error {
		for _, l := range v.links {
			l.delay.Store(0)
		}
		return nil
	}, nil
}

func hints(rule hintRule) func(context.Context, *run, fault, victim) (func(context.Context) error, error) {
	return func(_ context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
		v.links[0].rule.Store(int32(rule))
		return func(context.Context) error {
			v.links[0].rule.Store(int32(hintsPass))
			return nil
		}, nil
	}
}
