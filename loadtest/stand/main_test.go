package stand

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of these tests; what is waited for comes much sooner.
const patience = time.Minute

// rexgate is the built program.
var rexgate string

// helper names what this program does instead of testing, when a test starts it anew.
const helper = "STAND_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helper) {
	case "stand":
		holdStand()
	case "burn":
		burn()
	}
	dir, err := os.MkdirTemp("", "rexgate-stand-test-")
	if err != nil {
		panic(err)
	}
	rexgate = filepath.Join(dir, "rexgate")
	if out, err := exec.Command("go", "build", "-o", rexgate, "../../cmd/rexgate").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	status := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	if status == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// holdStand puts up a stand, names its processes, and stays.
func holdStand() {
	s, err := Start(context.Background(), Config{Rexgate: os.Args[1], Store: os.Args[2], Dir: os.Args[3]})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, t := range s.Targets() {
		fmt.Println(t.PID)
	}
	fmt.Println("ready")
	select {}
}

// What burn uses.
const (
	burntCPU    = 300 * time.Millisecond
	burntMemory = 64 << 20
	burntFiles  = 20
)

// burn uses CPU time, memory and descriptors each time it is told to, and ends with its input.
func burn() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		begin := cpuTime()
		// Not from the heap, which the race detector shadows.
		if _, err := unix.Mmap(-1, 0, burntMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE); err != nil {
			panic(err)
		}
		for range burntFiles {
			if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil {
				panic(err)
			}
		}
		for cpuTime() < begin+burntCPU {
		}
		fmt.Println("burnt")
	}
	os.Exit(0)
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ended tells whether a process is gone; a zombie that nobody waited for yet is.
func ended(pid int) bool {
	_, err := readProcess("/proc", pid, false)
	return errors.Is(err, errGone)
}
