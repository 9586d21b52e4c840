package gatebench

import (
	"fmt"
	"os"
	"runtime/pprof"
	"testing"
	"time"
)

// BenchmarkIdle measures what a gateway takes for each host that is connected and has
// nothing to do, after it has run a job: what the operating system sees (rss, after garbage
// is given back; peak is right after the traffic), live objects, stacks. It has no
// iterations. kernel is of one end of a connection. REXGATE_BENCH_CONNS sets the
// number of hosts; with REXGATE_BENCH_PROFILE=dir heap profiles are left there.
func BenchmarkIdle(b *testing.B) {
	conns := number("REXGATE_BENCH_CONNS", 5000)
	for _, c := range []struct {
		name      string
		poll, tls bool
	}{{"socket", false, false}, {"socket-tls", false, true}, {"poll", true, false}, {"poll-tls", true, true}} {
		b.Run(fmt.Sprintf("%s/conns=%d", c.name, conns), func(b *testing.B) {
			const some = 100 // what the first few make a gateway allocate isn't theirs
			g := newGate(b, conns+some, c.tls)
			hosts := newChild(b)
			bring := func(from, n int) (connect, job time.Duration) {
				began := processorTime(b)
				hosts.tell(order{Do: "connect", URL: g.url, Poll: c.poll, From: from, Hosts: n})
				connected := processorTime(b)
				g.job(g.targets[from : from+n])
				if c.poll {
					g.until("all polls are held", func() bool { return g.metric("rexgate_polls_held") == float64(from+n) })
				} else {
					hosts.tell(order{Do: "ping"})
				}
				return connected - began, processorTime(b) - connected
			}
			bring(0, some)
			before := settled(b)
			connect, job := bring(some, conns)
			peak := rss(b)
			after := settled(b)
			profile(b, c.name)
			n := float64(conns)
			b.ReportMetric(connect.Seconds()*1e6/n, "cpu-us/connect")
			b.ReportMetric(job.Seconds()*1e6/n, "cpu-us/job")
			b.ReportMetric((after.rss-before.rss)/n, "rss-B/conn")
			b.ReportMetric((peak-before.rss)/n, "peak-B/conn")
			b.ReportMetric((after.heap-before.heap)/n, "heap-B/conn")
			b.ReportMetric((after.spans-before.spans)/n, "heap-inuse-B/conn")
			b.ReportMetric((after.stack-before.stack)/n, "stack-B/conn")
			b.ReportMetric((after.kernel-before.kernel)/n/2, "kernel-B/conn")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// profile leaves a heap profile, if one was asked for.
func profile(b *testing.B, name string) {
	dir := os.Getenv("REXGATE_BENCH_PROFILE")
	if dir == "" {
		return
	}
	for _, kind := range []string{"heap", "goroutine"} {
		f, err := os.Create(fmt.Sprintf("%s/%s.%s.pprof", dir, name, kind))
		if err != nil {
			b.Fatal(err)
		}
		if err := pprof.Lookup(kind).WriteTo(f, 0); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
