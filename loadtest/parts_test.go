package loadtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/client"
)

func TestMix(t *testing.T) {
	m, err := ParseMix("socket=90, poll=10")
	if err != nil || m.String() != "socket=90,poll=10" {
		t.Fatalf("%v, %v", m, err)
	}
	modes := m.Assign(1000)
	count := func(modes []client.Mode) (n int) {
		for _, mode := range modes {
			if mode == client.ModePoll {
				n++
			}
		}
		return n
	}
	// Spread evenly: any run of hosts, such as a worker's, has the mix.
	for part := range slices.Chunk(modes, 100) {
		if n := count(part); n != 10 {
			t.Errorf("%d of 100 poll", n)
		}
	}
	for s, polls := range map[string]int{"poll": 7, "socket": 0, "poll=1,socket=6": 1, "auto=1,poll=0": 0} {
		if m, err := ParseMix(s); err != nil || count(m.Assign(7)) != polls {
			t.Errorf("%s: %d of 7 poll, %v", s, count(m.Assign(7)), err)
		}
	}
	for s, want := range map[string]string{
		"": "such as", "pigeon": "such as", "socket=x": "weight", "socket=-1": "weight", "socket,socket": "twice", "poll=0": "weights are 0",
	} {
		if _, err := ParseMix(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want ...%s", s, err, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	a, b := NewIdentity(), NewIdentity()
	if a.Name == b.Name || a.Key(0).Equal(b.Key(0)) || a.Key(0).Equal(a.Key(1)) {
		t.Error("hosts share keys, or fleets their name")
	}
	dir := t.TempDir()
	fresh, err := LoadIdentity(dir, "https://a")
	if err != nil {
		t.Fatal(err)
	}
	fresh.Enrolled = 5
	if err := fresh.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := LoadIdentity(dir, "https://a")
	if err != nil || again.Enrolled != 5 || again.Host(3) != fresh.Host(3) || !again.Key(3).Equal(fresh.Key(3)) {
		t.Errorf("%+v, %v; saved %+v", again, err, fresh)
	}
	if _, err := LoadIdentity(dir, "https://b"); err == nil || !strings.Contains(err.Error(), "https://a") {
		t.Errorf("the fleet of another server was taken: %v", err)
	}
}

// TestSourceAddresses holds that no loopback address is used for more than 1,000 connections, and that
// each gateway is the first for its share of the hosts.
func TestSourceAddresses(t *testing.T) {
	urls := []string{"http://127.0.0.1:1", "http://127.0.0.2:1", "http://127.0.0.3:1"}
	for _, perHost := range []int{1, 2} {
		n, err := newNetwork(urls, "", perHost)
		if err != nil || !n.loopback {
			t.Fatalf("%+v, %v", n, err)
		}
		used, first := map[int]int{}, map[string]int{}
		for i := range 6000 {
			used[n.address(i)] += perHost
			first[n.gateways(i)[0]]++
			if _, err := n.shared(i); err != nil {
				t.Fatal(err)
			}
		}
		for a, k := range used {
			if k > perAddress {
				t.Errorf("address %d has %d connections", a, k)
			}
		}
		if len(first) != 3 || first[urls[1]] != 2000 || len(n.ways) != 3*len(used) {
			t.Errorf("first gateways %v, %d ways", first, len(n.ways))
		}
	}
	if n, err := newNetwork([]string{"https://gate.example"}, "", 1); err != nil || n.loopback || n.network(0).Dial != nil {
		t.Errorf("elsewhere: %+v, %v", n, err)
	}
}

// TestReasons holds that errors are told apart by their kind only.
func TestReasons(t *testing.T) {
	var c errorCounts
	for i := range 150 {
		c.add("attempt by socket: unreachable", fmt.Errorf("dial tcp 127.0.0.%d:%d->127.0.0.1:80: connect: connection refused", i%250, 4000+i))
		c.add("session by poll: asked", fmt.Errorf("come back in %dms", i))
	}
	if got := c.list(); len(got) != 2 || got[0].Count != 150 || got[1].Count != 150 {
		t.Errorf("%+v", got)
	}
	for i := range 150 {
		c.add("x", errors.New(strings.Repeat("y", i+1)))
	}
	if got := c.list(); len(got) > maxReasons+1 || c.total.Load() != 450 {
		t.Errorf("%d reasons of %d errors", len(got), c.total.Load())
	}
}

func TestCapacity(t *testing.T) {
	socket, _ := ParseMix("socket")
	poll, _ := ParseMix("poll")
	for _, c := range []struct {
		cfg   Config
		limit uint64
		want  int
	}{
		{Config{Mix: socket, Volatile: true}, 20_000, 19_500},
		{Config{Mix: socket}, 20_000, 9750},
		{Config{Mix: poll}, 1 << 20, 6500},
		{Config{Mix: socket, Real: true}, 1024, 65},
	} {
		if got, err := c.cfg.capacity(c.limit); err != nil || got != c.want {
			t.Errorf("%+v of %d: %d, %v; want %d", c.cfg, c.limit, got, err, c.want)
		}
	}
	if _, err := (&Config{Mix: socket}).capacity(256); err == nil || !strings.Contains(err.Error(), "ulimit") {
		t.Errorf("256 descriptors: %v", err)
	}
	if at := parts(10, 3); !slices.Equal(at, []int{0, 3, 6, 10}) {
		t.Errorf("parts %v", at)
	}
}

// TestWorkerRefuses holds that a worker says what it can't do, and goes on.
func TestWorkerRefuses(t *testing.T) {
	in := strings.NewReader(`{"do":"connect"}` + "\n" + `{"do":"fly"}` + "\n")
	var out bytes.Buffer
	if err := Worker(in, &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "there is no fleet yet") != 2 {
		t.Errorf("it said %s", got)
	}
	if err := Worker(strings.NewReader("hello\n"), &out); err == nil {
		t.Error("an order that isn't one was taken")
	}
}
