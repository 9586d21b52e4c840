package gatebench

import (
	"fmt"
	"testing"
)

// BenchmarkJob runs an instant job on sockets of connected hosts, from its submission until all is
// stored. An iteration is a job on all hosts; the metrics are of the gateway's process alone, per
// host. REXGATE_BENCH_JOB_HOSTS sets their number.
func BenchmarkJob(b *testing.B) {
	n := number("REXGATE_BENCH_JOB_HOSTS", 2000)
	g := newGate(b, n, false)
	hosts := newChild(b)
	hosts.tell(order{Do: "connect", URL: g.url, Hosts: n})
	g.job(g.targets) // the first makes stacks and caches grow
	b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
		before := used(b)
		for b.Loop() {
			g.job(g.targets)
		}
		after, per := used(b), float64(b.N*n)
		b.ReportMetric((after.cpu-before.cpu).Seconds()*1e6/per, "cpu-us/host")
		b.ReportMetric((after.objects-before.objects)/per, "allocs/host")
		b.ReportMetric((after.bytes-before.bytes)/per, "B/host")
		b.ReportMetric(per/b.Elapsed().Seconds(), "hosts/s")
	})
}
