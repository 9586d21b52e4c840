package agent

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/rexgate/rexgate/client/runner"
)

// leastRoom is what each execution may have on disk, however many there are, in bytes.
const leastRoom = 1 << 20

// roomFor is what a script's output takes on disk if none of it is removed: the output, and what is written about it. A
// script that prints very little very often needs more; it waits then until some is stored.
func roomFor(outputLimit int64) int64 {
	if outputLimit <= 0 {
		outputLimit = runner.DefaultOutputLimit
	}
	return outputLimit + outputLimit/8 + leastRoom
}

// claimLocked gives an execution room on disk: what it wants, or what is left, but the least at any rate.
func (a *Agent) claimLocked(e *execution) {
	e.room = 0
	e.room = max(min(e.want, a.cfg.SpoolBytes-a.claimedLocked()), leastRoom)
}

func (a *Agent) claimedLocked() (n int64) {
	for _, e := range a.order {
		n += e.room
	}
	return n
}

// shareLocked gives room that became free to those that have less than they want, in order of arrival.
func (a *Agent) shareLocked() {
	free := a.cfg.SpoolBytes - a.claimedLocked()
	for _, e := range a.order {
		if more := min(e.want-e.room, free); more > 0 && e.room > 0 {
			e.room += more
			free -= more
			signal(e.wake)
		}
	}
}

// diskUse is what an execution's directory takes on disk, in bytes; where that can't be told, what its output has.
func (a *Agent) diskUse(entry Entry) int64 {
	use := entry.Ended.Bytes
	if a.cfg.Volatile {
		return use
	}
	files, err := os.ReadDir(a.dir(entry.Execution))
	if err != nil {
		return use
	}
	sum := int64(4 << 10) // the directory itself
	for _, f := range files {
		var st syscall.Stat_t
		if syscall.Lstat(filepath.Join(a.dir(entry.Execution), f.Name()), &st) == nil {
			sum += st.Blocks * 512
		}
	}
	return max(use, sum)
}
