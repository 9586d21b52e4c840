package gatebench

import (
	"fmt"
	"testing"
)

// BenchmarkPoll measures empty polls of authenticated hosts at an even rate, each host on
// a connection of its own. An iteration is a poll; cpu-us is the gateway's alone.
// REXGATE_BENCH_POLL_RATE sets the rate a second, REXGATE_BENCH_POLL_HOSTS the
// number of hosts.
func BenchmarkPoll(b *testing.B) {
	rate, n := number("REXGATE_BENCH_POLL_RATE", 3000), number("REXGATE_BENCH_POLL_HOSTS", 1000)
	g := newGate(b, n, false)
	hosts := newChild(b)
	hosts.tell(order{Do: "connect", URL: g.url, Poll: true, Idle: true, Hosts: n})
	hosts.tell(order{Do: "polls", Count: n, Rate: float64(rate)}) // the first of each host reads its key
	b.Run(fmt.Sprintf("rate=%d/hosts=%d", rate, n), func(b *testing.B) {
		began := processorTime(b)
		r := hosts.tell(order{Do: "polls", Count: b.N, Rate: float64(rate)})
		cpu := processorTime(b) - began
		at := func(q float64) float64 { return r.Latencies[int(q*float64(len(r.Latencies)-1))] }
		b.ReportMetric(at(0.5), "p50-ms")
		b.ReportMetric(at(0.99), "p99-ms")
		b.ReportMetric(at(1), "max-ms")
		b.ReportMetric(cpu.Seconds()*1e6/float64(b.N), "cpu-us/poll")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "polls/s")
	})
}
