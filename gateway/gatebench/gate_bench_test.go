package gatebench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/poll"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// patience is how long something may take that takes seconds.
const patience = 2 * time.Minute

// gate is a gateway with enrolled hosts, none of which is connected.
type gate struct {
	testing.TB
	store   queue.Store
	signer  *auth.Signer
	gateway *gateway.Gateway
	url     string
	targets []queue.Target
}

func newGate(tb testing.TB, hosts int, withTLS bool) *gate {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	store, err := redisqueue.Open(ctx, redisqueue.Options{URL: redistest.Start(tb).URL})
	if err != nil {
		tb.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := gateway.ServerConfig{Listener: ln, DrainTime: time.Second, Gateway: gateway.Config{
		Store: store, Name: "gw-1", Signer: auth.NewSigner(key),
		ReconnectHosts: 1_000_000, ReconnectWindow: time.Minute, // limits aren't measured
		Poll: poll.Config{Rate: 100_000, Held: hosts + 1, MaxWait: 10 * time.Minute},
	}}
	g := &gate{TB: tb, store: store, signer: c.Gateway.Signer, url: "http://" + ln.Addr().String()}
	if withTLS {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(tb)}, MinVersion: tls.VersionTLS12}
		g.url = "https://" + ln.Addr().String()
	}
	s, err := gateway.NewServer(c)
	if err != nil {
		tb.Fatal(err)
	}
	g.gateway = s.Gateway()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("the gateway: %v", err)
		}
		store.Close()
	})
	g.enrol(hosts)
	return g
}

func (g *gate) enrol(n int) {
	g.targets = make([]queue.Target, n)
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < n; i += 64 {
				h, err := g.store.Enroll(context.Background(), queue.Enrollment{
					Host: hostID(i), PublicKey: keyOf(i).Public().(ed25519.PublicKey), Token: "t", Labels: map[string]string{"role": "web"}})
				if err != nil {
					g.Error(err)
				}
				g.targets[i] = queue.Target{Host: h.ID, Incarnation: h.Incarnation}
			}
		})
	}
	wg.Wait()
	if g.Failed() {
		g.FailNow()
	}
}

// job runs an instant job on hosts, to its end.
func (g *gate) job(targets []queue.Target) {
	g.Helper()
	req := api.JobRequest{Script: "echo hello\n", Hosts: make([]string, len(targets))}
	for i, t := range targets {
		req.Hosts[i] = string(t.Host)
	}
	body, err := json.Marshal(req)
	if err != nil {
		g.Fatal(err)
	}
	token, _, err := g.signer.SignOperator(auth.Operator{Subject: "bench", Scopes: auth.Scopes()}, time.Hour)
	if err != nil {
		g.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/jobs", bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	g.gateway.ServeHTTP(w, r)
	var job api.Job
	if err := json.Unmarshal(w.Body.Bytes(), &job); err != nil || job.ID == "" {
		g.Fatalf("submit: %d %s", w.Code, w.Body)
	}
	g.until("the job has ended on all hosts", func() bool {
		st, err := g.store.Job(context.Background(), queue.JobID(job.ID))
		if err != nil {
			g.Fatal(err)
		}
		return st.Counters[queue.Succeeded] == len(targets)
	})
}

// until asks again and again.
func (g *gate) until(what string, done func() bool) {
	g.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(end) {
			g.Fatalf("it takes too long until %s", what)
		}
	}
}

// metric reads one of the gateway's own figures.
func (g *gate) metric(name string) float64 {
	g.Helper()
	rec := httptest.NewRecorder()
	g.gateway.Admin().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for lines := bufio.NewScanner(rec.Body); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				g.Fatal(err)
			}
			return f
		}
	}
	g.Fatalf("there is no metric %s", name)
	return 0
}

func certificate(tb testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// memory is what this process takes, and the kernel for sockets, in bytes.
type memory struct {
	heap   float64 // live objects
	spans  float64 // that the heap's objects hold in use, their free slots included
	stack  float64
	rss    float64 // of the process, without files
	kernel float64 // sockets of both ends
}

// settled gives what is taken once garbage is collected and given back, as it is some
// minutes after traffic at the latest.
func settled(tb testing.TB) memory {
	runtime.GC() // what was in pools survives one
	runtime.GC()
	debug.FreeOSMemory()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return memory{heap: float64(ms.HeapAlloc), spans: float64(ms.HeapInuse), stack: float64(ms.StackInuse), rss: rss(tb), kernel: kernel(tb)}
}

func rss(tb testing.TB) float64 { return field(tb, "/proc/self/status", "RssAnon:") * 1024 }

// kernel gives what sockets take: their objects, and what waits in their buffers. Where
// the caches can't be read one by one, it is all that the kernel's caches take.
func kernel(tb testing.TB) float64 {
	waiting := 0.0
	if text, err := os.ReadFile("/proc/net/sockstat"); err == nil {
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "TCP:"); ok {
				_, mem, _ := strings.Cut(rest, " mem ")
				pages, _ := strconv.ParseFloat(strings.TrimSpace(mem), 64)
				waiting = pages * float64(os.Getpagesize())
			}
		}
	}
	text, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		return waiting + field(tb, "/proc/meminfo", "Slab:")*1024
	}
	total := waiting
	for line := range strings.Lines(string(text)) {
		var name string
		var active, objects, size float64
		if n, _ := fmt.Sscan(line, &name, &active, &objects, &size); n == 4 {
			switch name {
			case "TCP", "TCPv6", "sock_inode_cache", "filp", "eventpoll_epi", "skbuff_head_cache", "skbuff_small_head", "tcp_bind_bucket", "tcp_bind2_bucket":
				total += active * size
			}
		}
	}
	return total
}

// field reads a number after a name.
func field(tb testing.TB, file, name string) float64 {
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			f, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				tb.Fatal(err)
			}
			return f
		}
	}
	tb.Fatalf("no %s in %s", name, file)
	return 0
}

// processorTime is what this process has used, which is the gateway.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// use is what this process has used so far.
type use struct {
	cpu            time.Duration
	objects, bytes float64 // allocated
}

func used(tb testing.TB) use {
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return use{processorTime(tb), float64(ms.Mallocs), float64(ms.TotalAlloc)}
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}
