// Package gatebench measures a whole gateway from outside: what its process takes for
// each host that is connected and quiet, and how fast it answers polls. The gateway, on
// a real Redis, is all that is in the measuring process; the hosts' ends are in a child
// process, which is this test binary again. The hosts are enrolled, sign their own
// tokens, and run a job each before anything is measured.
package gatebench

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/rexgate/rexgate/queue"
)

const childEnv = "REXGATE_BENCH_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		fleet := &fleet{}
		os.Exit(fleet.obey(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// order is what the child is told, one in a line.
type order struct {
	Do    string  // connect: hosts begin sessions, and run what they get from then on; ping: all sockets ping once; polls
	URL   string  // connect: of the gateway
	Poll  bool    // connect: over polls, not a socket
	Idle  bool    // connect: but poll only when told to
	From  int     // connect: the first host
	Hosts int     // connect: how many
	Count int     // polls: how many
	Rate  float64 // polls: a second
}

// report is the child's answer to an order.
type report struct {
	Err       string
	Latencies []float64 // polls: milliseconds from when each was due, sorted
}

// child is the process with the hosts' ends.
type child struct {
	tb  testing.TB
	in  *json.Encoder
	out *bufio.Scanner
}

// newChild starts the process, and ends it with the benchmark.
func newChild(tb testing.TB) *child {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close() // it ends at that
		if err := cmd.Wait(); err != nil {
			tb.Errorf("the process with the hosts: %v", err)
		}
	})
	c := &child{tb: tb, in: json.NewEncoder(in), out: bufio.NewScanner(out)}
	c.out.Buffer(nil, 64<<20)
	return c
}

// tell gives an order, and waits until it is done.
func (c *child) tell(o order) report {
	c.tb.Helper()
	var r report
	if err := c.in.Encode(o); err != nil {
		c.tb.Fatal(err)
	}
	if !c.out.Scan() {
		c.tb.Fatalf("the process with the hosts has ended: %v", c.out.Err())
	}
	if err := json.Unmarshal(c.out.Bytes(), &r); err != nil {
		c.tb.Fatal(err)
	}
	if r.Err != "" {
		c.tb.Fatalf("%s: %s", o.Do, r.Err)
	}
	return r
}

func hostID(i int) queue.HostID { return queue.HostID(fmt.Sprintf("host-%06d.example.net", i)) }

// keyOf is a key that both processes know.
func keyOf(i int) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(hostID(i)))
	return ed25519.NewKeyFromSeed(seed[:])
}
