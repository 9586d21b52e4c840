package agent

import (
	"time"
	"unicode/utf8"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// frameEvent makes an event of a runner's frame.
func frameEvent(id string, f runner.Frame, skew int64) wire.Event {
	at := f.At + skew
	switch f.Kind {
	case runner.Started:
		return &wire.Started{Execution: id, Seq: f.Seq, At: at}
	case runner.Missing:
		return &wire.Gap{Execution: id, Seq: f.Seq, Through: f.Through, At: time.Now().UnixMilli() + skew, Bytes: f.Bytes}
	}
	o := &wire.Output{Execution: id, Seq: f.Seq, At: at, Stream: wire.Stdout}
	if f.Kind == runner.Stderr {
		o.Stream = wire.Stderr
	}
	if utf8.Valid(f.Data) {
		o.Text = string(f.Data)
	} else {
		o.Data = f.Data
	}
	return o
}

// endOf is the last event of a process that has ended.
func endOf(x runner.Exit) *Ended {
	return &Ended{
		Seq: x.Seq, At: x.At, Outcome: x.Outcome, ExitCode: x.ExitCode, Signal: x.Signal,
		Reason: x.Reason, Dropped: x.Dropped, Bytes: x.Bytes,
	}
}
