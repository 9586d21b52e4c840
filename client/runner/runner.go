package runner

import (
	"context"
	"errors"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// FirstSeq is the number of a script's first frame: number 1 is the agent's
// own event, accepted.
const FirstSeq = 2

// DefaultOutputLimit is kept of a script's output where the spec has no limit.
const DefaultOutputLimit = 4 << 20

// Spec says what to run and within which bounds.
type Spec struct {
	Execution   string            `json:"execution"` // for people; also in the script's environment as REXGATE_EXECUTION
	Script      []byte            `json:"script"`
	User        string            `json:"user,omitempty"` // "" = the agent's own
	Env         map[string]string `json:"env,omitempty"`  // added to the minimal environment, and wins over it
	Dir         string            `json:"dir,omitempty"`  // "" = the user's home, or / where that doesn't exist
	RunTimeout  time.Duration     `json:"run_timeout"`
	Grace       time.Duration     `json:"grace"`        // between TERM and KILL at the time limit
	OutputLimit int64             `json:"output_limit"` // bytes of both streams together; 0 = DefaultOutputLimit
	// SpoolLimit is how many bytes its frames may have on disk at a time: a script that prints more is held
	// up until there is room. 0 = no limit but the output's.
	SpoolLimit int64 `json:"spool_limit,omitempty"`
	// EndAll has what the script leaves behind, when it ends by itself, ended like at a cancel. The exit
	// is the script's own all the same.
	EndAll bool `json:"end_all,omitempty"`
}

// Runner starts scripts, and finds those that were started before. Its methods
// may be called concurrently for different directories.
type Runner interface {
	// Start starts a script, with dir, which it makes, as the place of everything
	// about it. It returns when the script runs or has failed to: what
	// couldn't be executed is a process that has ended. Errors: *RefusedError if the
	// host can't run this spec; any other if nothing was started for another
	// reason. If ctx ends first, the script may or may not have been started:
	// Attach tells.
	Start(ctx context.Context, dir string, spec Spec) (Process, error)
	// Attach finds what Start left in dir, running or ended, also if another
	// process started it. Errors: ErrNoTrace if nothing was started there; any other says that it couldn't
	// be found out now, and is no evidence of anything.
	Attach(dir string) (Process, error)
	// Remove deletes what is kept of a process that has ended and was closed. A
	// directory that isn't there is no error.
	Remove(dir string) error
}

// Process is a script that was started. Read is called by one goroutine at a
// time; the other methods may be called concurrently.
type Process interface {
	// Changed receives after Status has changed; several changes may share one
	// receipt. The first receipt comes without a change.
	Changed() <-chan struct{}
	Status() Status
	// Read gives the frames from number from on, up to Status().Last, as many as
	// fit max bytes of data, but one at least. What can't be read any more is given as a
	// frame of kind Missing. from beyond Last gives none.
	Read(from int64, max int) ([]Frame, error)
	// Cancel asks for the end: TERM to the process group, KILL after grace. It
	// returns when the supervisor has been told; what became of it shows in Status. On an ended
	// process it does nothing.
	Cancel(grace time.Duration) error
	// Close lets go of the process, which runs on. Read stays possible.
	Close() error
}

// Spooled is what a Process may implement as well, if its frames take room on a disk. The methods may be
// called concurrently with those of Process.
type Spooled interface {
	// Trim removes from the disk what it can of the frames up to through. Read gives them as Missing from
	// then on.
	Trim(through int64) error
	// Allow sets the process's SpoolLimit anew. On an ended process it does nothing.
	Allow(bytes int64) error
}

// Status is how far a process is.
type Status struct {
	Last  int64 // number of the last frame, FirstSeq-1 if there is none
	Full  bool  // the script is held up, since its spool is full
	Ended bool
	Exit  Exit // if Ended
}

// Exit tells how a script ended. Its event has the number Seq, after the last
// frame's.
type Exit struct {
	Seq      int64        `json:"seq"`
	At       int64        `json:"at"` // Unix milliseconds, host's clock
	Outcome  wire.Outcome `json:"outcome"`
	ExitCode int          `json:"exit_code"` // -1 if it didn't exit
	Signal   string       `json:"signal,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	Dropped  int64        `json:"dropped,omitempty"` // bytes beyond the output limit
	Bytes    int64        `json:"bytes,omitempty"`   // of output that are kept
}

// FrameKind is what a frame tells.
type FrameKind byte

// The kinds of frames. Missing is never on disk.
const (
	Started FrameKind = 1
	Stdout  FrameKind = 2
	Stderr  FrameKind = 3
	Missing FrameKind = 4
)

// Frame is one thing that happened to a script.
type Frame struct {
	Seq  int64
	At   int64 // Unix milliseconds, host's clock
	Kind FrameKind
	Data []byte // Stdout, Stderr: 1 to wire.MaxChunk bytes

	// Missing stands for the frames Seq to Through, with Bytes of output.
	Through int64
	Bytes   int64
}

// ErrNoTrace says that nothing was ever started in a directory.
var ErrNoTrace = errors.New("runner: no trace of a start")

// RefusedError says that this host can't run a spec, and why.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }
