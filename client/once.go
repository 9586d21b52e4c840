package client

import (
	"context"
	"sync/atomic"
	"time"
)

// RunOnce says hello, fetches what waits, carries messages while the peer is busy, and returns nil
// when nothing is in hand and nothing waits; for cron and the like. Over the poll, which it
// uses unless the mode is socket, requests aren't held: an empty answer is the proof
// that nothing waits. idle is how long nothing may be in hand and nothing come before it
// ends: 0 is enough over the poll; over the socket at least a second is taken.
//
// It gives up with an error after one round of gateways that couldn't be reached;
// once a session was open, it goes on until the peer is idle, for its results
// must arrive, or ctx ends (nil, or ctx's error if the peer is still busy). A Link
// that has run once isn't for Run.
func (l *Link) RunOnce(ctx context.Context, peer Peer, idle time.Duration) error {
	if l.cfg.Mode == ModeAuto {
		l.choice.force(Poll)
	}
	w := &onceWatch{idleFor: idle}
	if l.cfg.Mode == ModeSocket {
		w.idleFor = max(idle, time.Second)
	}
	w.touch()
	if err := l.run(ctx, peer, w); err != nil {
		return err
	}
	if ctx.Err() != nil && !w.quiet(peer) {
		return context.Cause(ctx)
	}
	return nil
}

// onceWatch tells when a run that is for once has nothing left to do. A nil watch
// never does.
type onceWatch struct {
	idleFor time.Duration
	last    atomic.Int64 // when a message came last, Unix nanoseconds
}

// touch says that a message came.
func (w *onceWatch) touch() {
	if w != nil {
		w.last.Store(time.Now().UnixNano())
	}
}

// quiet tells whether nothing is in hand or on the way.
func (w *onceWatch) quiet(peer Peer) bool {
	return w != nil && !peer.Busy() && peer.Unacked() == 0
}

// done tells whether it has been quiet for long enough.
func (w *onceWatch) done(peer Peer) bool {
	return w.quiet(peer) && time.Since(time.Unix(0, w.last.Load())) >= w.idleFor
}

// wait blocks until done, or gives false when ctx ends. A peer doesn't tell when it
// becomes idle, so it is asked.
func (w *onceWatch) wait(ctx context.Context, peer Peer) bool {
	for !w.done(peer) {
		if peer.Busy() {
			w.touch()
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return false
		}
	}
	return true
}
