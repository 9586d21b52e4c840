package redisqueue

import (
	"strconv"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// Fields of a record in x, as lua/common.lua has them. A record ends with the
// last that the execution came to have.
const (
	xState, xIndex, xIncarnation, xWait, xReleased, xUntil          = 1, 2, 3, 4, 5, 6
	xLeased, xDeliveries, xMessage, xSession, xToken                = 7, 8, 9, 10, 11
	xAccepted, xGeneration, xPosition, xStored, xStarted, xFinished = 12, 13, 14, 15, 16, 17
	xExit, xSignal, xReason, xAt, xOut, xErr, xInline, xCancelled   = 18, 19, 20, 21, 22, 23, 24, 25
	xWhy, xCancelMessage, xDropped, xGap, xDeleted, xSegments       = 26, 27, 28, 29, 30, 31
	xLate                                                           = 32
)

// Fields of the moving part of a job in a partition.
const (
	cCursor, cControl, cWhy, cAt, cLast, cOut, cRec, cCounts = 1, 2, 3, 4, 5, 6, 7, 8
)

// Fields of a job's commit record.
const (
	rNonce, rCreated, rCounts, rControl, rWhy, rAt, rIdem = 1, 2, 3, 4, 5, 6, 7
)

// micros is a time as scripts have it: 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// moment is the inverse of micros.
func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func stateOf(s string) queue.State {
	if s == "" {
		return 0
	}
	return queue.State(s[0])
}

func controlOf(s string) queue.Control {
	switch s {
	case "c":
		return queue.ControlStopped
	case "p":
		return queue.ControlPaused
	}
	return queue.Active
}

// execution makes what readers see of a record.
func (i *jobInfo) execution(p int, host queue.HostID, r row) queue.Execution {
	x := i.planned(p, int(r.int(xIndex)), queue.Target{Host: host, Incarnation: r.int(xIncarnation)})
	x.State = stateOf(r.str(xState))
	x.ReleasedAt, x.DeliverUntil = moment(r.int(xReleased)), moment(r.int(xUntil))
	if !x.ReleasedAt.IsZero() {
		x.NotBefore = i.job.Spec.NotBefore
	}
	x.LeasedAt, x.AcceptedAt = moment(r.int(xLeased)), moment(r.int(xAccepted))
	x.StartedAt, x.FinishedAt = moment(r.int(xStarted)), moment(r.int(xFinished))
	x.CancelledAt = moment(r.int(xCancelled))
	x.Deliveries = int(r.int(xDeliveries))
	x.Generation, x.Position, x.Stored = r.str(xGeneration), r.int(xPosition), r.int(xStored)
	if x.State.Terminal() {
		x.Result = queue.Result{Outcome: x.State, ExitCode: int(r.int(xExit)), Signal: r.str(xSignal),
			Reason: r.str(xReason), At: moment(r.int(xAt))}
	}
	if l := r.row(xLate); l != nil {
		x.Late = &queue.Result{Outcome: stateOf(l.str(1)), ExitCode: int(l.int(2)), Signal: l.str(3),
			Reason: l.str(4), At: moment(l.int(5))}
	}
	x.Output = queue.OutputInfo{Stdout: r.int(xOut), Stderr: r.int(xErr), Dropped: r.int(xDropped),
		Gap: r.int(xGap), Deleted: r.int(xDeleted) == 1}
	return x
}

// planned makes the execution of a target that has no record yet.
func (i *jobInfo) planned(p, index int, t queue.Target) queue.Execution {
	return queue.Execution{Job: i.job.ID, Host: t.Host, Ordinal: i.base[p] + index, State: queue.Planned,
		Incarnation: t.Incarnation, Lane: i.job.Spec.Lane, Priority: i.job.Spec.Priority}
}

func parseMicros(s string) int64 {
	f, _ := strconv.ParseFloat(s, 64) // Lua writes large numbers as it likes
	return int64(f)
}
