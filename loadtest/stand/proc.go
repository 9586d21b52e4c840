package stand

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU time in /proc, which is the same on all of Linux' machines.
const tick = time.Second / 100

// reading is what a process used so far, and has.
type reading struct {
	start        uint64 // of the process, in ticks since the machine's; tells it from another with its number
	user, system time.Duration
	rss, pss     int64
	threads      int
	descriptors  int
	more         map[string]float64
}

// errGone says that a process isn't there any more.
var errGone = errors.New("the process has ended")

// readProcess reads /proc/PID. children counts the CPU time of children that have ended, too.
func readProcess(root string, pid int, children bool) (reading, error) {
	dir := filepath.Join(root, strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			return reading{}, errGone
		}
		return reading{}, err
	}
	r, err := parseStat(stat, children)
	if err != nil {
		return r, fmt.Errorf("%s/stat: %w", dir, err)
	}
	// Since Linux 6.2 the folder's size is the number of descriptors. Elsewhere they would
	// have to be listed, all 20,000 of them.
	if fi, err := os.Stat(filepath.Join(dir, "fd")); err == nil {
		r.descriptors = int(fi.Size())
	}
	return r, nil
}

// parseStat reads the line of /proc/PID/stat; see proc_pid_stat(5).
func parseStat(line []byte, children bool) (reading, error) {
	// The name in parentheses may hold anything, parentheses too.
	i := bytes.LastIndexByte(line, ')')
	if i < 0 {
		return reading{}, errors.New("no name in it")
	}
	fields := strings.Fields(string(line[i+1:])) // from the third on
	if len(fields) < 22 {
		return reading{}, fmt.Errorf("%d fields only", len(fields)+2)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return reading{}, errGone
	}
	var bad error
	number := func(n int) int64 { // by its number in the manual
		v, err := strconv.ParseInt(fields[n-3], 10, 64)
		if err != nil {
			bad = err
		}
		return v
	}
	r := reading{
		user: time.Duration(number(14)) * tick, system: time.Duration(number(15)) * tick,
		threads: int(number(20)), start: uint64(number(22)), rss: number(24) * int64(os.Getpagesize()),
	}
	if children {
		r.user += time.Duration(number(16)) * tick
		r.system += time.Duration(number(17)) * tick
	}
	return r, bad
}

// readMemory reads the exact memory of a process, which the kernel counts page by page: milliseconds for a
// large one. A process of another user may not be read; it keeps the approximate figure.
func (r *reading) readMemory(root string, pid int) {
	b, err := os.ReadFile(filepath.Join(root, strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return
	}
	for line := range bytes.Lines(b) {
		name, value, ok := strings.Cut(string(line), ":")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "Rss":
			r.rss = kib << 10
		case "Pss":
			r.pss = kib << 10
		}
	}
}

// machine is the CPU time of all of the machine so far.
type machine struct {
	user, system time.Duration
	stolen       time.Duration // by other machines on the same hardware
}

// readMachine reads the first line of /proc/stat; see proc_stat(5).
func readMachine(root string) (machine, error) {
	b, err := os.ReadFile(filepath.Join(root, "stat"))
	if err != nil {
		return machine{}, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return machine{}, fmt.Errorf("%s/stat: no line of all CPUs", root)
	}
	var v [9]time.Duration
	for i := 1; i < 9; i++ {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return machine{}, fmt.Errorf("%s/stat: %w", root, err)
		}
		v[i] = time.Duration(n) * tick
	}
	return machine{user: v[1] + v[2], system: v[3] + v[6] + v[7], stolen: v[8]}, nil
}

// sockets is what TCP sockets of the machine take in the kernel.
type sockets struct {
	inUse, timeWait int
	bytes, slab     int64
}

// readSockets reads /proc/net/sockstat, sockstat6 and the slab of meminfo.
func readSockets(root string) (sockets, error) {
	var s sockets
	for _, name := range []string{"net/sockstat", "net/sockstat6"} {
		b, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) && name == "net/sockstat6" {
			continue // no IPv6 here
		}
		if err != nil {
			return s, err
		}
		for line := range strings.Lines(string(b)) {
			proto, rest, _ := strings.Cut(line, ":")
			if proto != "TCP" && proto != "TCP6" {
				continue
			}
			f := strings.Fields(rest)
			for i := 0; i+1 < len(f); i += 2 {
				n, err := strconv.Atoi(f[i+1])
				if err != nil {
					return s, fmt.Errorf("%s/%s: %w", root, name, err)
				}
				switch f[i] {
				case "inuse":
					s.inUse += n
				case "tw":
					s.timeWait += n
				case "mem":
					s.bytes += int64(n) * int64(os.Getpagesize())
				}
			}
		}
	}
	b, err := os.ReadFile(filepath.Join(root, "meminfo"))
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "Slab:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return s, fmt.Errorf("%s/meminfo: %w", root, err)
			}
			s.slab = kib << 10
		}
	}
	return s, nil
}
